//! MCP over streamable HTTP, at `/mcp/{server}`.

pub mod sse;
