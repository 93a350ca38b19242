//! What does each server offer?
//!
//! A server says it in `tools/list`; the operator says in tool files how much harm each tool can
//! do, and in `tools.lock` which definitions were accepted. A [`Catalogue`] is what one server
//! offers, with each schema compiled once; a [`Classifier`] is what the operator says of it;
//! [`Pins`] are the digests that somebody accepted.

mod catalogue;
mod classify;
mod compile;
mod cost;
mod defaults;
mod graph;
mod keywords;
mod lint;
mod mirror;
mod names;
mod normal;
mod pins;
mod preview;
mod sentence;
mod strict;

pub use crate::config::Problem;
pub use catalogue::{Catalogue, Definition, Schemas};
pub use classify::{Class, Classifier};
pub use compile::{Compiled, Side};
pub use cost::Allowance;
pub use mirror::HeaderParam;
pub use names::usable_name;
pub use pins::{Pin, Pins};
pub use preview::{Pointer, Preview};
pub use sentence::{About, Part, Sentence};

/// How large a definition may be, and how much work its schemas may make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Tools of one server; those past it are kept, unusable.
    pub tools: usize,
    /// Bytes of one definition.
    pub bytes: usize,
    /// How deep schemas may nest.
    pub depth: usize,
    /// How many schemas one schema may hold.
    pub schemas: usize,
    /// How many ways from one schema to another, with what applies to one value multiplied out.
    pub edges: usize,
    /// How many patterns one schema may hold.
    pub patterns: usize,
    /// Bytes of one pattern.
    pub pattern_bytes: usize,
    /// How many schemas may come to be checked for each value in the arguments.
    pub checks_per_value: u64,
    /// How deep arguments may nest; what the parser lets through at most.
    pub argument_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tools: 1_000,
            bytes: 256 * 1024,
            depth: 48,
            schemas: 10_000,
            edges: 100_000,
            patterns: 200,
            pattern_bytes: 2_000,
            checks_per_value: 4_096,
            argument_depth: 128,
        }
    }
}

/// A sentence about one place in a schema.
fn problem(at: &str, why: &str) -> String {
    if at.is_empty() { format!("at its root: {why}") } else { format!("at `{at}`: {why}") }
}
