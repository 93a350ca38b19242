//! When is it on disk?
//!
//! One thread syncs the file for all who wait: whoever comes while a sync runs shares the next one.

use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::format::HEADER;
use super::{Shared, TrailFault, lock};

/// Who waits for the disk.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: Vec<oneshot::Sender<Result<(), TrailFault>>>,
    pub(super) closing: bool,
}

/// Syncs until the trail is closed, then once more.
pub(super) fn run(shared: &Arc<Shared>) {
    loop {
        let (waiting, closing) = next_batch(shared);
        let result = sync(shared);
        for waiter in waiting {
            // Whoever gave up waiting needs no answer.
            let _ = waiter.send(result.clone());
        }
        if closing {
            return;
        }
        write_ahead(shared);
    }
}

fn next_batch(shared: &Shared) -> (Vec<oneshot::Sender<Result<(), TrailFault>>>, bool) {
    let mut queue = lock(&shared.queue);
    if queue.waiting.is_empty() && !queue.closing {
        (queue, _) = shared
            .wake
            .wait_timeout_while(queue, shared.settings.sync_every, |queue| {
                queue.waiting.is_empty() && !queue.closing
            })
            .unwrap_or_else(PoisonError::into_inner);
    }
    (std::mem::take(&mut queue.waiting), queue.closing)
}

/// Makes all that was appended before it durable.
fn sync(shared: &Shared) -> Result<(), TrailFault> {
    let (segment, entries) = {
        let tip = lock(&shared.tip);
        (Arc::clone(&tip.segment), tip.entries)
    };
    shared.sync(&segment, entries)
}

// Makes room before it is needed, so that no call waits for it.
fn write_ahead(shared: &Shared) {
    let ahead = shared.settings.ahead_bytes;
    let (segment, end) = {
        let tip = lock(&shared.tip);
        (Arc::clone(&tip.segment), tip.end)
    };
    let allocated = segment.allocated();
    let unused = end == HEADER as u64;
    if unused || allocated.saturating_sub(end) > ahead / 2 {
        return;
    }
    let wanted = (allocated + ahead).min(shared.settings.segment_bytes);
    // Should this fail, the next append meets the same fault and reports it.
    let _ = segment.make_room(wanted, wanted);
}
