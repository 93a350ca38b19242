//! Which command was meant?
