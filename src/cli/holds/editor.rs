//! What would the reviewer rather have sent?

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::{env, fs};

use super::client::Said;
use crate::cli::Failure;
use crate::json::Limits;

/// The text after the reviewer's editor had it, from a file that nobody else can read.
pub(super) fn edited(text: &str) -> Result<Vec<u8>, Said> {
    let editor = env::var("VISUAL").or_else(|_| env::var("EDITOR")).map_err(|_| {
        let message = "no editor: set VISUAL or EDITOR, or give `--arguments FILE`";
        Said::Failed(Failure::Usage(message.into()))
    })?;
    let directory = env::temp_dir().join(format!("countersign-{}", uuid::Uuid::new_v4()));
    fs::DirBuilder::new().create(&directory)?;
    let file = directory.join("arguments.json");
    let done = edit(&editor, &file, text);
    let _ = fs::remove_dir_all(&directory);
    done
}

fn edit(editor: &str, file: &std::path::Path, text: &str) -> Result<Vec<u8>, Said> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(file)?.write_all(text.as_bytes())?;
    // As git does: the variable may hold arguments too.
    let script = format!("{editor} \"$1\"");
    let status = Command::new("sh").args(["-c", &script, "sh"]).arg(file).status()?;
    if !status.success() {
        return Err(Said::failed("the editor failed; nothing was signed"));
    }
    let mut edited = Vec::new();
    fs::File::open(file)?.take(Limits::default().bytes as u64 + 1).read_to_end(&mut edited)?;
    Ok(edited)
}
