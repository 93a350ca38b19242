//! The sockets: framing, sessions and streams, no meaning.

pub mod body;
pub mod descriptors;
pub mod listen;
pub mod mcp;
pub mod outlive;
pub mod workers;
