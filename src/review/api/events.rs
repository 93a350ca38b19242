//! What changes, as it changes?
//!
//! Server-sent events: `change` for each change of a hold, `missed` where a slow reader was
//! overtaken, and has to list the holds again. Nothing of a call is in them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use super::fault::ApiFault;
use crate::gate::desk::{Change, Desk};

/// A comment this often, so that nobody on the way takes the stream for dead.
const ALIVE: Duration = Duration::from_secs(15);

/// All changes from now on.
pub(super) fn events(
    desk: &Desk,
    places: &Arc<Semaphore>,
    stop: watch::Receiver<bool>,
) -> Result<Response, ApiFault> {
    let place = Arc::clone(places).try_acquire_owned().map_err(|_| ApiFault::too_many())?;
    let watching = Watching { changes: desk.watch(), stop, _place: place };
    // The first line tells that it stands.
    let begun = stream::iter([Ok::<_, Infallible>(Event::default().comment("watching"))]);
    let changes = stream::unfold(watching, next);
    let events = futures_util::StreamExt::chain(begun, changes);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)).into_response())
}

/// Somebody who follows changes, until the listener stops.
struct Watching {
    changes: broadcast::Receiver<Change>,
    stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

async fn next(mut watching: Watching) -> Option<(Result<Event, Infallible>, Watching)> {
    let change = tokio::select! {
        change = watching.changes.recv() => change,
        _ = watching.stop.wait_for(|stop| *stop) => return None,
    };
    let event = match change {
        Ok(change) => {
            let Change { id, version, state, what } = change;
            let change = json!({"id": id, "version": version, "state": state, "what": what});
            Event::default().event("change").data(change.to_string())
        }
        Err(RecvError::Lagged(missed)) => {
            Event::default().event("missed").data(json!({"missed": missed}).to_string())
        }
        Err(RecvError::Closed) => return None,
    };
    Some((Ok(event), watching))
}
