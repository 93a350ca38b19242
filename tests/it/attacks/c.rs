//! C: HTTP.

mod h2;
mod names;
mod slow;
mod smuggle;
