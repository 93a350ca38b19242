//! Disks that are full, and disks that fail.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::gate::Gate;

/// A file system of its own, unmounted when dropped. Needs root.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// Of this size in KiB; none where nobody may mount, which it says.
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub(crate) fn at(path: &Path, kib: usize) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={kib}k,mode=0700");
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        if done.is_ok_and(|status| status.success()) {
            return Some(Self(path.to_owned()));
        }
        assert_ne!(std::env::var("USER").as_deref(), Ok("root"), "root can mount");
        eprintln!("skipped: mounting needs root");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Faults in a gate's system calls from now on, as a disk would have them, until dropped: by
/// `strace`, which answers in the kernel's place.
pub(crate) struct Injected {
    strace: Child,
    gate: u32,
}

impl Injected {
    /// Into these calls, as strace says it: `error=EIO:when=1+`.
    pub(crate) fn into(gate: &Gate, calls: &str, fault: &str) -> Self {
        Self::with(gate, calls, fault, &[])
    }

    /// Only where they are about this file, which has to be there.
    pub(crate) fn about(gate: &Gate, file: &Path, calls: &str, fault: &str) -> Self {
        let file = file.canonicalize().unwrap();
        Self::with(gate, calls, fault, &["-P", file.to_str().unwrap()])
    }

    fn with(gate: &Gate, calls: &str, fault: &str, more: &[&str]) -> Self {
        let (trace, fault) = (format!("trace={calls}"), format!("inject={calls}:{fault}"));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", &trace, "-e", &fault, "-o", "/dev/null"]).args(more).arg("-p");
        strace.arg(gate.pid().to_string()).stderr(Stdio::piped());
        let mut child = strace.spawn().expect("strace; run tests/scripts/setup.sh system");
        // It says so once it holds all threads.
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "strace does not attach");
        }
        Self { strace: child, gate: gate.pid() }
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        if is_dead(self.gate) {
            // Nobody is left to be let go, and strace waits for ever for the one that it killed.
            let _ = self.strace.kill();
        } else {
            // An interrupt: killed, it would leave the gate stopped.
            let _ =
                Command::new("kill").args(["-s", "INT", &self.strace.id().to_string()]).status();
        }
        let _ = self.strace.wait();
    }
}

fn is_dead(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    !status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}
