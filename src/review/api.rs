//! What can programs ask of the holds?
//!
//! The same that people can on the review page, as JSON, under `/api/v1`: `schemas/openapi.yaml`
//! describes it, and a test holds the two equal.

mod body;
mod events;
mod fault;
mod query;
mod view;
mod who;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use http::Request;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, watch};

use crate::gate::desk::Desk;
use crate::hold::{Hold, HoldId, Reviewer};
use crate::review::act::{Change, Chosen, Denial, Office};
use crate::review::auth::Access;
use body::{Fields, LARGE, SMALL};
pub use fault::{ApiFault, OWN_CODES};
use view::{Summary, Whole};

/// Where the API is.
pub const ROOT: &str = "/api/v1";

/// What the API works on.
pub struct Api {
    /// Where reviewers act.
    pub office: Arc<Office>,
    /// Turns true when the listener stops.
    pub stop: watch::Receiver<bool>,
    /// Places for event streams.
    pub streams: Arc<Semaphore>,
}

impl Api {
    fn desk(&self) -> &Desk {
        self.office.gate.desk()
    }
}

/// All of its paths, below [`ROOT`], for those who may come in.
pub fn routes(api: Arc<Api>, access: Arc<Access>) -> Router {
    let paths = Router::new()
        .route("/holds", get(list))
        .route("/holds/{id}", get(show))
        .route("/holds/{id}/result", get(result))
        .route("/holds/{id}/approve", post(approve))
        .route("/holds/{id}/deny", post(deny))
        .route("/holds/{id}/answer", post(answer))
        .route("/holds/{id}/edit", post(edit))
        .route("/events", get(changes))
        .fallback(async || ApiFault::not_found())
        .method_not_allowed_fallback(async || ApiFault::method_not_allowed())
        .with_state(api)
        .layer(middleware::from_fn_with_state(access, who::known));
    Router::new().nest(ROOT, paths)
}

type Answer = Result<Response, ApiFault>;
type Shared = State<Arc<Api>>;

async fn list(State(api): Shared, text: RawQuery) -> Answer {
    #[derive(Serialize)]
    struct Listed<'a> {
        holds: Vec<Summary<'a>>,
        total: u64,
    }
    let page = api.desk().page(query::query(text)?).await?;
    let holds = page.holds.iter().map(Summary::of).collect();
    Ok(Json(Listed { holds, total: page.total }).into_response())
}

async fn show(State(api): Shared, Path(id): Path<String>, who: Extension<Reviewer>) -> Answer {
    let hold = api.desk().hold(named(&id)?).await?;
    Ok(Json(Whole::of(&hold, &who)).into_response())
}

async fn result(State(api): Shared, Path(id): Path<String>) -> Answer {
    #[derive(Serialize)]
    struct Kept<'a> {
        answer: &'a RawValue,
    }
    let hold = api.desk().hold(named(&id)?).await?;
    let kept = api.desk().result(hold.id).await?.ok_or_else(ApiFault::no_result)?;
    // As it was kept: a second reading could round a number.
    let answer: &RawValue = serde_json::from_slice(&kept).map_err(|_| ApiFault::no_result())?;
    Ok(Json(Kept { answer }).into_response())
}

async fn approve(
    State(api): Shared,
    Path(id): Path<String>,
    Extension(who): Extension<Reviewer>,
    request: Request<Body>,
) -> Answer {
    let id = named(&id)?;
    let mut fields = Fields::read(request, SMALL, &["hash", "justification"]).await?;
    let (seen, justification) = (fields.hash()?, fields.text("justification")?);
    let hold = api.office.sign(&who, Chosen { id, seen }, justification).await?;
    Ok(decided(&hold, &who))
}

async fn deny(
    State(api): Shared,
    Path(id): Path<String>,
    Extension(who): Extension<Reviewer>,
    request: Request<Body>,
) -> Answer {
    let id = named(&id)?;
    let mut fields = Fields::read(request, SMALL, &["preset", "reason"]).await?;
    let denial = Denial { preset: fields.text("preset")?, words: fields.text("reason")? };
    let hold = api.office.deny(&who, id, denial).await?;
    Ok(decided(&hold, &who))
}

async fn answer(
    State(api): Shared,
    Path(id): Path<String>,
    Extension(who): Extension<Reviewer>,
    request: Request<Body>,
) -> Answer {
    let id = named(&id)?;
    let mut fields = Fields::read(request, SMALL, &["message"]).await?;
    let hold = api.office.answer(&who, id, fields.text("message")?).await?;
    Ok(decided(&hold, &who))
}

async fn edit(
    State(api): Shared,
    Path(id): Path<String>,
    Extension(who): Extension<Reviewer>,
    request: Request<Body>,
) -> Answer {
    let id = named(&id)?;
    let known = ["hash", "arguments", "justification"];
    let mut fields = Fields::read(request, LARGE, &known).await?;
    let change = Change {
        seen: fields.hash()?,
        arguments: fields.value("arguments")?,
        justification: fields.text("justification")?,
    };
    let hold = api.office.edit(&who, id, change).await?;
    Ok(decided(&hold, &who))
}

async fn changes(State(api): Shared) -> Answer {
    events::events(api.desk(), &api.streams, api.stop.clone())
}

fn decided(hold: &Hold, reviewer: &Reviewer) -> Response {
    Json(Whole::of(hold, reviewer)).into_response()
}

fn named(id: &str) -> Result<HoldId, ApiFault> {
    id.parse().map_err(|_| ApiFault::unknown_hold())
}
