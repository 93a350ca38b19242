//! Which command was meant?

pub mod demo;
