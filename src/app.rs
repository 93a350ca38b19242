//! Who starts what, in which order, and how does it all stop?
