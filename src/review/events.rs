//! What has just changed?
//!
//! A stream of server-sent events for an open page: `queue` when any hold changed, several changes
//! at once as one; `hold` when the one hold of its page did. They say that, and not what: the page
//! asks for what it shows.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State as Shared};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

use super::auth::Person;
use super::pages::Pages;
use crate::gate::desk::Change;
use crate::hold::HoldId;
use crate::time::At;

/// Changes within this are one event of the queue.
const GATHER: Duration = Duration::from_millis(200);
/// How often a silent stream shows that it lives.
const ALIVE: Duration = Duration::from_secs(15);

/// Of what to hear.
#[derive(Deserialize)]
pub(super) struct Of {
    hold: Option<String>,
}

pub(super) async fn events(
    person: Person,
    Shared(pages): Shared<Pages>,
    Query(of): Query<Of>,
) -> Response {
    let of = match of.hold.map(|id| id.parse::<HoldId>()).transpose() {
        Ok(of) => of,
        Err(error) => return (StatusCode::NOT_FOUND, format!("{error}\n")).into_response(),
    };
    let Ok(place) = Arc::clone(&pages.streams).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
    };
    let lasts = person.session.map(|session| session.until.since(At::now()));
    let watcher = Watcher {
        changes: pages.office.gate.desk().watch(),
        stop: pages.stop.clone(),
        end: lasts.map(|lasts| Box::pin(tokio::time::sleep(lasts))),
        of,
        begun: false,
        _place: place,
    };
    Sse::new(watcher.stream()).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

/// Somebody who looks at a page.
struct Watcher {
    changes: broadcast::Receiver<Change>,
    stop: watch::Receiver<bool>,
    /// When their session is over.
    end: Option<Pin<Box<tokio::time::Sleep>>>,
    of: Option<HoldId>,
    begun: bool,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((Ok(event), watcher))
        })
    }

    /// The next event; none, when it is over.
    async fn next(&mut self) -> Option<Event> {
        let name = if self.of.is_some() { "hold" } else { "queue" };
        let event = Event::default().event(name).data("changed");
        // Something may have changed between the page and this stream.
        if !std::mem::replace(&mut self.begun, true) {
            return Some(event);
        }
        let Self { changes, stop, end, of, .. } = self;
        tokio::select! {
            () = changed(changes, *of) => {}
            _ = stop.wait_for(|stop| *stop) => return None,
            () = over(end) => return None,
        }
        if self.of.is_none() {
            tokio::time::sleep(GATHER).await;
            while !matches!(
                self.changes.try_recv(),
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed)
            ) {}
        }
        Some(event)
    }
}

async fn over(end: &mut Option<Pin<Box<tokio::time::Sleep>>>) {
    match end {
        Some(end) => end.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Returns once something changed of what is looked at, or may have.
async fn changed(changes: &mut broadcast::Receiver<Change>, of: Option<HoldId>) {
    loop {
        match changes.recv().await {
            Ok(change) if of.is_none_or(|id| id == change.id) => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // The desk lives as long as the gate.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
