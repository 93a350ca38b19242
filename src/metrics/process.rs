//! What does the process use?
//!
//! Read from `/proc/self`; absent elsewhere than on Linux.

use std::time::{SystemTime, UNIX_EPOCH};

/// Resident memory, in bytes.
pub(super) fn resident_bytes() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_bytes()?)
}

/// When this is first asked, in seconds since the epoch: the start, as the gate sees it.
pub(super) fn start_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn page_bytes() -> Option<f64> {
    // The auxiliary vector has it (AT_PAGESZ, 6) without a foreign call.
    let auxv = std::fs::read("/proc/self/auxv").ok()?;
    let word = size_of::<usize>();
    let words: Vec<usize> = auxv
        .chunks_exact(word)
        .filter_map(|bytes| bytes.try_into().ok().map(usize::from_ne_bytes))
        .collect();
    let pair = words.chunks_exact(2).find(|pair| pair.first() == Some(&6))?;
    pair.get(1).map(|bytes| *bytes as f64)
}
