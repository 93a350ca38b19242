//! What is counted, and how is it bounded?
