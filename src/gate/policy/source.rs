//! Which files make up the policy?

use std::path::{Path, PathBuf};

pub use crate::config::Problem;
use crate::json::Digest;
use sha2::{Digest as _, Sha256};

/// Files that one snapshot may have; a mistaken path must not read a whole disk.
pub const MAX_FILES: usize = 2_000;
/// Bytes of one `.rego` file (the parser's own limit).
pub const MAX_REGO_BYTES: u64 = 1 << 20;
/// Bytes of one data file.
pub const MAX_DATA_BYTES: u64 = 32 << 20;
/// Folders within folders.
const MAX_FOLDER_DEPTH: usize = 16;

/// One `.rego`, `.json` or `.yaml` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name in problems and errors.
    pub path: String,
    /// For a data file, the keys under which it stands in `data` (its folder, as OPA has it).
    pub under: Vec<String>,
    /// What is in it.
    pub text: String,
}

impl Source {
    /// A source that stands at the root.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), under: Vec::new(), text: text.into() }
    }

    pub(super) fn is_rego(&self) -> bool {
        self.path.ends_with(".rego")
    }
}

/// SHA-256 over names and texts, whatever their order.
pub(super) fn digest(sources: &[Source]) -> Digest {
    let mut sorted: Vec<&Source> = sources.iter().collect();
    sorted.sort_by(|a, b| (&a.path, &a.under, &a.text).cmp(&(&b.path, &b.under, &b.text)));
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    for source in sorted {
        part(&source.path);
        part(&source.under.join("/"));
        part(&source.text);
    }
    Digest(hash.finalize().into())
}

/// Read policy files and folders.
///
/// Of a folder: each `.rego` that is no `_test.rego`, and each `data.json`, `data.yaml` and
/// `data.yml`, which stands in `data` under the names of its folders. Dot files and the `..data`
/// folders of a Kubernetes mount are left out; symbolic links are followed. A file that is named
/// itself is always read. All problems come back at once.
pub fn read_directory(paths: &[PathBuf]) -> Result<Vec<Source>, Vec<Problem>> {
    let mut reading = Reading::default();
    for path in paths {
        if path.is_dir() {
            reading.folder(path, &mut Vec::new());
        } else {
            reading.file(path, &[]);
        }
    }
    if reading.sources.is_empty() && reading.problems.is_empty() {
        let named = paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        reading.problems.push(Problem::whole(named, "no policy files (`*.rego`) here"));
    }
    if reading.problems.is_empty() { Ok(reading.sources) } else { Err(reading.problems) }
}

#[derive(Default)]
struct Reading {
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

impl Reading {
    fn folder(&mut self, folder: &Path, under: &mut Vec<String>) {
        if under.len() >= MAX_FOLDER_DEPTH {
            return self.fail(folder, format!("more than {MAX_FOLDER_DEPTH} folders deep"));
        }
        let mut entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries.flatten().map(|e| e.path()).collect::<Vec<_>>(),
            Err(error) => return self.fail(folder, format!("cannot be read: {error}")),
        };
        entries.sort();
        for path in entries {
            let Some(name) = path.file_name().and_then(|n| n.to_str()).map(str::to_owned) else {
                self.fail(&path, "has a name that is not Unicode".into());
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                under.push(name);
                self.folder(&path, under);
                under.pop();
            } else if is_wanted(&name) {
                self.file(&path, under);
            }
        }
    }

    fn file(&mut self, path: &Path, under: &[String]) {
        if self.sources.len() >= MAX_FILES {
            return self.fail(path, format!("more than {MAX_FILES} policy files"));
        }
        let limit = if path.extension().is_some_and(|e| e == "rego") {
            MAX_REGO_BYTES
        } else {
            MAX_DATA_BYTES
        };
        match std::fs::metadata(path) {
            Ok(meta) if !meta.is_file() => return self.fail(path, "is not a plain file".into()),
            Ok(meta) if meta.len() > limit => {
                return self.fail(path, format!("is larger than {limit} bytes"));
            }
            Ok(_) => {}
            Err(error) => return self.fail(path, format!("cannot be read: {error}")),
        }
        match std::fs::read_to_string(path) {
            Ok(text) => self.sources.push(Source {
                path: path.display().to_string(),
                under: under.to_vec(),
                text,
            }),
            Err(error) => self.fail(path, format!("cannot be read: {error}")),
        }
    }

    fn fail(&mut self, path: &Path, message: String) {
        self.problems.push(Problem::whole(path.display().to_string(), message));
    }
}

fn is_wanted(name: &str) -> bool {
    matches!(name, "data.json" | "data.yaml" | "data.yml")
        || (name.ends_with(".rego") && !name.ends_with("_test.rego"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubernetes_mount_is_read_once_and_tests_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("..2026_11_20");
        std::fs::create_dir_all(real.join("deep")).unwrap();
        std::fs::write(real.join("a.rego"), "package a").unwrap();
        std::fs::write(real.join("a_test.rego"), "package a").unwrap();
        std::fs::write(real.join("notes.txt"), "x").unwrap();
        std::fs::write(real.join("deep/data.json"), "{}").unwrap();
        std::os::unix::fs::symlink(&real, dir.path().join("..data")).unwrap();
        for name in ["a.rego", "a_test.rego", "notes.txt", "deep"] {
            std::os::unix::fs::symlink(format!("..data/{name}"), dir.path().join(name)).unwrap();
        }
        let sources = read_directory(&[dir.path().to_owned()]).unwrap();
        let seen: Vec<_> = sources
            .iter()
            .map(|s| (s.path.rsplit('/').next().unwrap(), s.under.join(".")))
            .collect();
        assert_eq!(seen, [("a.rego", String::new()), ("data.json", "deep".into())]);
    }

    #[test]
    fn what_is_not_there_is_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_directory(&[dir.path().to_owned()]).is_err());
        let absent = read_directory(&[dir.path().join("absent.rego")]).unwrap_err();
        assert!(absent[0].message.contains("cannot be read"), "{absent:?}");
    }

    #[test]
    fn the_digest_tells_names_texts_and_places_but_not_order() {
        let a = Source::new("a.rego", "x");
        let b = Source::new("b.rego", "y");
        let base = digest(&[a.clone(), b.clone()]);
        assert_eq!(base, digest(&[b.clone(), a.clone()]));
        assert_ne!(base, digest(&[Source::new("a.rego", "xb.rego"), Source::new("", "y")]));
        assert_ne!(base, digest(&[a.clone(), Source::new("b.rego", "z")]));
        assert_ne!(base, digest(&[a, Source { under: vec!["u".into()], ..b }]));
    }
}
