//! Which keys stand here, and which were meant?
//!
//! A [`Section`] knows the keys it may have, so that an unknown one is told with the nearest known
//! one. Nothing here stops at the first fault: each goes to [`Reading`], and reading goes on.

use std::path::{Path, PathBuf};

use super::problem::{Problem, nearest};
use super::yaml::{Key, Node, Place, Value};

/// One config being read: where it is, and what was wrong so far.
pub(super) struct Reading<'p> {
    /// The file, as the operator named it.
    pub(super) path: &'p str,
    /// What relative paths in it are relative to.
    pub(super) base: &'p Path,
    /// What is wrong, in no particular order.
    pub(super) problems: Vec<Problem>,
    /// Files that have to be there when the config is used.
    pub(super) needed: Vec<(PathBuf, Place)>,
    /// Whether secrets are read; otherwise each is what its source is called.
    pub(super) with_secrets: bool,
}

impl<'p> Reading<'p> {
    pub(super) const fn new(path: &'p str, base: &'p Path) -> Self {
        Self { path, base, problems: Vec::new(), needed: Vec::new(), with_secrets: true }
    }

    /// Notes a fault.
    pub(super) fn fault(&mut self, at: Place, message: impl Into<String>) {
        self.problems.push(Problem {
            path: self.path.to_owned(),
            line: at.line,
            column: at.column,
            message: message.into(),
        });
    }

    /// Reads one value, or notes why it cannot be read.
    pub(super) fn take<T>(
        &mut self,
        node: &Node,
        read: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        match read(node) {
            Ok(value) => Some(value),
            Err(message) => {
                self.fault(node.at, message);
                None
            }
        }
    }

    /// Reads a list, item by item.
    pub(super) fn list<T>(
        &mut self,
        node: Option<&Node>,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Vec<T> {
        let Some(node) = node else { return Vec::new() };
        let Value::List(items) = &node.value else {
            self.fault(node.at, format!("expected a list, found {}", node.value.kind()));
            return Vec::new();
        };
        items.iter().filter_map(|item| read(self, item)).collect()
    }

    /// A path, resolved against the config file, that has to be there.
    pub(super) fn file(&mut self, node: &Node) -> Option<PathBuf> {
        let path = self.path_of(node)?;
        self.needed.push((path.clone(), node.at));
        Some(path)
    }

    /// A path, resolved against the config file, that need not be there yet.
    pub(super) fn path_of(&mut self, node: &Node) -> Option<PathBuf> {
        let text = self.take(node, super::scalar::text)?;
        // `./a` and `a` are one path; told and recorded the same way.
        Some(self.base.join(text).components().collect())
    }
}

/// Keys and their values, of which all keys are known.
#[derive(Clone, Copy)]
pub(super) struct Section<'n> {
    pub(super) at: Place,
    entries: &'n [(Key, Node)],
    keys: &'static [&'static str],
}

impl<'n> Section<'n> {
    /// Opens a node as a section with these keys, and notes what does not belong.
    pub(super) fn open(
        node: &'n Node,
        keys: &'static [&'static str],
        reading: &mut Reading<'_>,
    ) -> Self {
        let Value::Map(entries) = &node.value else {
            reading.fault(node.at, format!("expected a section, found {}", node.value.kind()));
            return Self { at: node.at, entries: &[], keys };
        };
        for (key, value) in entries {
            if !keys.contains(&key.name.as_str()) {
                reading.fault(key.at, unknown(&key.name, keys));
            } else if value.value == Value::Null {
                let message = format!("`{}` has no value; give it one or remove it", key.name);
                reading.fault(key.at, message);
            }
        }
        Self { at: node.at, entries, keys }
    }

    /// What stands under a key.
    pub(super) fn find(&self, name: &str) -> Option<&'n Node> {
        debug_assert!(self.keys.contains(&name), "`{name}` is read but not among the keys");
        self.entries
            .iter()
            .find(|(key, node)| key.name == name && node.value != Value::Null)
            .map(|(_, node)| node)
    }

    /// Whether a key is there without a value, or misspelt, which has been told already.
    pub(super) fn was_meant(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| {
            let keys = self.keys.iter().copied();
            key.name == name || nearest(&key.name, keys) == Some(name)
        })
    }

    /// Where a key stands; where the section begins if it is missing.
    pub(super) fn place(&self, name: &str) -> Place {
        self.find(name).map_or(self.at, |node| node.at)
    }

    /// Opens what stands under a key.
    pub(super) fn open_at(
        &self,
        name: &str,
        keys: &'static [&'static str],
        reading: &mut Reading<'_>,
    ) -> Option<Self> {
        self.find(name).map(|node| Self::open(node, keys, reading))
    }

    /// Reads what stands under a key, if anything does.
    pub(super) fn read<T>(
        &self,
        name: &str,
        reading: &mut Reading<'_>,
        read: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        self.find(name).and_then(|node| reading.take(node, read))
    }

    /// Reads what must stand under a key.
    pub(super) fn require<T>(
        &self,
        name: &str,
        reading: &mut Reading<'_>,
        read: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        self.must(name, reading).and_then(|node| reading.take(node, read))
    }

    /// What must stand under a key.
    pub(super) fn must(&self, name: &str, reading: &mut Reading<'_>) -> Option<&'n Node> {
        let found = self.find(name);
        if found.is_none() && !self.was_meant(name) {
            reading.fault(self.at, format!("`{name}` is missing"));
        }
        found
    }
}

fn unknown(name: &str, keys: &[&str]) -> String {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    match nearest(name, keys.iter().copied()) {
        Some(near) => format!("unknown key `{shown}`; did you mean `{near}`?"),
        None => format!("unknown key `{shown}`; known here: {}", keys.join(", ")),
    }
}
