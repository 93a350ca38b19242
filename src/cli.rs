//! Which command was meant?

/// What is on record?
pub mod audit;
