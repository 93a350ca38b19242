//! Which names may become label values?
//!
//! The first of each, up to a bound; all later ones share [`OTHER`]. What an agent makes up never
//! gets here: the gate counts it as [`UNKNOWN_TOOL`], so nobody can crowd out the tools that are.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Servers that have a label of their own.
pub const SERVERS: usize = 100;
/// Tools of one server that have a label of their own.
pub const TOOLS_PER_SERVER: usize = 200;
/// What all the others share.
pub const OTHER: &str = "other";
/// The tool of a call that names none which its server defines.
pub const UNKNOWN_TOOL: &str = "unknown";
/// Names longer than this, in bytes, share [`OTHER`].
const NAME_BYTES: usize = 128;

/// What is kept for each (server, tool), bounded.
pub(super) struct Labels<T>(RwLock<HashMap<Arc<str>, Tools<T>>>);

type Tools<T> = HashMap<Arc<str>, Arc<T>>;

impl<T> Default for Labels<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> Labels<T> {
    /// The label that stands for `server`.
    pub(super) fn server(&self, server: &str) -> Arc<str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((label, _)) = known.get_key_value(server) {
            return Arc::clone(label);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let label = bounded(&known, SERVERS, server);
        known.entry(Arc::clone(&label)).or_default();
        label
    }

    /// What is kept for `tool` of `server`; made by `make` from the labels that stand for them.
    pub(super) fn tool(
        &self,
        server: &str,
        tool: &str,
        make: impl FnOnce(Arc<str>, Arc<str>) -> T,
    ) -> Arc<T> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = known.get(server).and_then(|tools| tools.get(tool)) {
            return Arc::clone(kept);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let server = bounded(&known, SERVERS, server);
        let tools = known.entry(Arc::clone(&server)).or_default();
        let tool = bounded(tools, TOOLS_PER_SERVER, tool);
        let kept = tools.entry(Arc::clone(&tool)).or_insert_with(|| Arc::new(make(server, tool)));
        Arc::clone(kept)
    }
}

/// `name` while there is room for it. [`OTHER`] and [`UNKNOWN_TOOL`] take no room of others.
fn bounded<V>(known: &HashMap<Arc<str>, V>, limit: usize, name: &str) -> Arc<str> {
    if let Some((label, _)) = known.get_key_value(name) {
        return Arc::clone(label);
    }
    let reserved = [OTHER, UNKNOWN_TOOL];
    let taken = known.len() - reserved.iter().filter(|r| known.contains_key(**r)).count();
    if reserved.contains(&name) || (taken < limit && name.len() <= NAME_BYTES) {
        Arc::from(name)
    } else {
        Arc::from(OTHER)
    }
}
