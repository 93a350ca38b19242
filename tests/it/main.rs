//! Black box: the real binary, real sockets. One binary, so that it links once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so by a panic"
)]

mod api;
mod attacks;
mod cli;
mod corpus;
mod decide;
mod holds;
mod holds_cli;
mod layers;
mod modes;
mod oidc;
mod readme;
mod reload;
mod spans;
mod support;
