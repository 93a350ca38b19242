//! Which command was meant?

pub mod audit;
pub mod demo;
