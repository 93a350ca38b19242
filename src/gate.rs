//! One call, start to finish: the steps in order.

pub mod identify;
pub mod policy;
pub mod schema;
