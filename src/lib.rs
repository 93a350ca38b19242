//! Countersign stands between an AI agent and its tools.
//!
//! ```text
//!  front/mcp ───┐
//!               ├ Arrival ─▶ Gate::handle ──────────────────────▶ Answer | Refusal
//!  (others) ────┘
//!     Record opens
//!     identify → parse → decide ─────────────▶ Permit → forward → check answer
//!                        schema·policy·hold           ▲
//!                                      │              │ intent durable first
//!                                      ▼              │
//!                        gate/desk: waits in the store, until people sign it at `review`
//!     Record closes (metric, log line, trail entry: once, from one value)
//! ```
//!
//! Imports go one way, and `tests/it/layers.rs` holds them to it:
//! `time`, `json`, `private`, `call`, `refusal`, `hold` ← `config`, `tools`, `store`, `trail` ← `gate` ← `front`,
//! `review` ← `app`, `cli`.

pub mod app;
pub mod call;
pub mod cli;
pub mod config;
pub mod front;
pub mod gate;
pub mod hold;
pub mod host;
pub mod json;
pub mod metrics;
pub mod notify;
pub mod private;
pub mod refusal;
pub mod review;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod tools;
pub mod trail;
