//! The sockets: framing, sessions and streams, no meaning.

pub mod mcp;
