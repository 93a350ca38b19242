//! Run one command, turn its result into an exit code.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    without_huge_pages();
    countersign::cli::main(std::env::args_os())
}

/// The allocator asks for huge pages, which keep 16 MB more resident than an idle sidecar uses.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no safe crate in the tree wraps this option")]
fn without_huge_pages() {
    // SAFETY: it sets an attribute of this process and touches no memory. A kernel that does not
    // know it answers with an error, and then all stays as it was.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

#[cfg(not(target_os = "linux"))]
fn without_huge_pages() {}
