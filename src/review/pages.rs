//! What do reviewers see in a browser?
//!
//! Pages made on the server; a form for each change, which also works by itself. A script adds
//! keys, live changes, and the lock on what has not been read.

pub mod arguments;
mod decide;
mod dialogs;
mod diff;
mod facts;
mod hold;
mod layout;
mod queue;
mod sign_in;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, watch};

use super::act::Office;
use super::auth::Access;
use super::{assets, events};

/// Bytes of a form: edited arguments as large as a call's, and what surrounds them, percent-encoded.
const FORM_BYTES: usize = 4 * 1024 * 1024;

/// What the pages are made from.
#[derive(Clone)]
pub struct Pages {
    /// Where reviewers act.
    pub office: Arc<Office>,
    /// Who may come in.
    pub access: Arc<Access>,
    /// Turns true when the listener stops.
    pub stop: watch::Receiver<bool>,
    /// Places for event streams.
    pub streams: Arc<Semaphore>,
}

impl FromRef<Pages> for Arc<Access> {
    fn from_ref(pages: &Pages) -> Self {
        Self::clone(&pages.access)
    }
}

impl FromRef<Pages> for Arc<Office> {
    fn from_ref(pages: &Pages) -> Self {
        Self::clone(&pages.office)
    }
}

/// All pages and what they load.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(queue::page))
        .route("/holds/approve", post(decide::together))
        .route("/holds/{id}", get(hold::page))
        .route("/holds/{id}/diff", get(diff::before_and_after))
        .route("/holds/{id}/approve", post(decide::approve))
        .route("/holds/{id}/deny", post(decide::deny))
        .route("/holds/{id}/answer", post(decide::answer))
        .route("/holds/{id}/edit", post(decide::edit))
        .route("/events", get(events::events))
        .route("/sign-in", get(sign_in::page).post(sign_in::by_token))
        .route("/link/{secret}", get(sign_in::link).post(sign_in::by_link))
        .route("/sign-out", post(sign_in::out))
        .route("/assets/{digest}/{name}", get(assets::asset))
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .with_state(pages)
}
