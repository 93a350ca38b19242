//! What others' gateways got wrong (`ATTACKS.md`), tried on ours. Each test bears its case's id.

mod c;
mod d;
mod j;
