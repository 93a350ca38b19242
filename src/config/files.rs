//! Which files does a directory of them hold?

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::yaml::MAX_BYTES;

/// The most tool files that are read.
pub const MAX_TOOL_FILES: usize = 1000;

/// Reads the tool files that a config names: each path is a `.yaml` or `.yml` file, or a directory
/// of them. Gives each file's path and text, in the order of their names. Names that begin with a
/// dot are passed over, and links are followed, so that a Kubernetes `ConfigMap` mount is read once.
///
/// # Errors
/// Each file or directory that cannot be read, or is too large.
pub fn read_tool_files(paths: &[PathBuf]) -> Result<Vec<(String, String)>, Vec<Problem>> {
    let mut texts = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        let told = |error: io::Error| {
            Problem::whole(path.display().to_string(), format!("cannot be read: {error}"))
        };
        match listed(path) {
            Ok(files) => files.iter().for_each(|file| match read_text(file) {
                Ok(text) => texts.push((file.display().to_string(), text)),
                Err(error) => problems.push(Problem::whole(
                    file.display().to_string(),
                    format!("cannot be read: {error}"),
                )),
            }),
            Err(error) => problems.push(told(error)),
        }
    }
    if problems.is_empty() { Ok(texts) } else { Err(problems) }
}

fn listed(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if is_tool_file(&file) && fs::metadata(&file)?.is_file() {
            files.push(file);
        }
        if files.len() > MAX_TOOL_FILES {
            return Err(io::Error::other(format!("more than {MAX_TOOL_FILES} tool files")));
        }
    }
    files.sort();
    Ok(files)
}

fn is_tool_file(path: &Path) -> bool {
    let is_hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    !is_hidden && path.extension().is_some_and(|end| end == "yaml" || end == "yml")
}

/// Reads a text file of at most [`MAX_BYTES`]. Pipes and devices are not read: they may never end.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let mut text = String::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() > MAX_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_its_yaml_files_in_order_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("..data")).unwrap();
        fs::write(root.join("..data/b.yaml"), "b").unwrap();
        std::os::unix::fs::symlink(root.join("..data/b.yaml"), root.join("b.yaml")).unwrap();
        for name in ["a.yml", ".hidden.yaml", "notes.txt"] {
            fs::write(root.join(name), name).unwrap();
        }
        let texts = read_tool_files(&[root.to_owned()]).unwrap();
        let names: Vec<_> = texts.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(names, ["a.yml", "b"]);
        assert_eq!(read_tool_files(&[root.join("notes.txt")]).unwrap().len(), 1);
    }

    #[test]
    fn all_that_cannot_be_read_is_told_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let large = directory.path().join("large.yaml");
        fs::write(&large, "#".repeat(MAX_BYTES + 1)).unwrap();
        let paths = [large, PathBuf::from("/not/there"), PathBuf::from("/dev/null")];
        assert_eq!(read_tool_files(&paths).unwrap_err().len(), 3);
    }
}
