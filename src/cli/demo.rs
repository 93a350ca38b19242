//! What can one try without setting anything up?
//!
//! A small real MCP server in the binary: a shop's customers, payments, e-mail and files, all in
//! memory and made up, so that every tier has something to refuse.

pub mod server;
mod tools;
mod world;
