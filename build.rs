//! Which commit is this, and which files does `init` write?

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=COUNTERSIGN_COMMIT");
    println!("cargo::rustc-env=COUNTERSIGN_COMMIT={}", commit());
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("starter.rs"), starter_files()?)
}

/// The commit as the builder says, or as git does; a source archive knows none.
fn commit() -> String {
    if let Ok(commit) = env::var("COUNTERSIGN_COMMIT")
        && !commit.trim().is_empty()
    {
        return commit.trim().to_owned();
    }
    // The log of HEAD grows with each commit; in a worktree it is not below `.git`.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// `policies/` and `tools/` as a Rust array of (path, text).
fn starter_files() -> io::Result<String> {
    let mut list = String::from("&[\n");
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    for root in ["policies", "tools"] {
        println!("cargo::rerun-if-changed={root}");
        let mut files = Vec::new();
        collect(&here.join(root), &mut files)?;
        files.sort();
        for file in files {
            let name = file.strip_prefix(&here).map_err(io::Error::other)?;
            writeln!(list, "    ({:?}, include_str!({:?})),", name.display(), file.display())
                .map_err(io::Error::other)?;
        }
    }
    list.push_str("]\n");
    Ok(list)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|end| end == "rego" || end == "json" || end == "yaml")
        {
            files.push(path);
        }
    }
    Ok(())
}
