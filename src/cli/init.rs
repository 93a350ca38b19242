//! Where do I begin?

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Failure, say};

/// Write a commented config, starter policies and a tool file
///
/// What is written runs as it is, against an MCP server on 127.0.0.1:9000. Nothing that exists is
/// overwritten: if one of the files is there, none is written.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where to write; made if it is not there
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
}

/// The config that `init` writes.
pub const CONFIG: &str = include_str!("init/countersign.yaml");

/// The shipped policies and tool files: path from the root, text. `build.rs` lists what is there.
pub const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/starter.rs"));

/// Writes all files, or none.
///
/// # Errors
/// If a file is there already, or cannot be written.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let directory = &arguments.directory;
    let files: Vec<_> = std::iter::once(("countersign.yaml", CONFIG))
        .chain(FILES.iter().copied())
        .map(|(name, text)| (directory.join(name), text))
        .collect();
    let there: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.symlink_metadata().is_ok())
        .map(|(path, _)| format!("`{}`", path.display()))
        .collect();
    if !there.is_empty() {
        let message = format!("nothing was written: {} exists already", there.join(", "));
        return Err(Failure::Message(message));
    }
    for folder in ["policies", "tools"] {
        fs::create_dir_all(directory.join(folder)).map_err(|error| told(directory, &error))?;
    }
    for (path, text) in &files {
        write(path, text).map_err(|error| told(path, &error))?;
    }
    let written: String = files.iter().map(|(path, _)| format!("{}\n", path.display())).collect();
    let config = directory.join("countersign.yaml");
    say(&format!("{written}\nnext: countersign check --config {}\n", config.display()))?;
    Ok(Exit::Done)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Made, never opened: what appeared since we looked is kept.
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

fn told(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Message(format!("cannot write `{}`: {error}", path.display()))
}
