//! Who else can touch our files?
//!
//! Nobody: only our own user writes to them, and one process at a time has them.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes a directory that is ours alone, or takes the right to write to it from all others.
///
/// # Errors
/// What the operating system says.
pub fn directory(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mode = std::fs::metadata(dir)?.permissions().mode();
    // Kubernetes opens volumes to the group at each mount (`fsGroup`). A sticky directory, such as
    // `/tmp`, is meant for all, and there too nobody else can take our files away.
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(mode & !0o022))?;
    }
    Ok(())
}

/// Opens a file for writing, or begins an empty one that is ours alone. Follows no link.
///
/// # Errors
/// What the operating system says.
pub fn file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path)
}

/// Takes a lock file until it is dropped; nothing, if somebody has it, be it this very process.
///
/// # Errors
/// What the operating system says.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
