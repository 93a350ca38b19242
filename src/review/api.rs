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
use tokio::sync::Semaphore;

use crate::config::Preset;
use crate::gate::desk::{Desk, Hand};
use crate::gate::{Edited, Gate};

use crate::hold::{Ending, Hold, HoldId, Reviewer, Step};
use crate::review::auth::Access;
use body::{Fields, LARGE, SMALL};
pub use fault::{ApiFault, OWN_CODES};
use view::{Summary, Whole};

/// Where the API is.
pub const ROOT: &str = "/api/v1";

/// What the API works on.
pub struct Api {
    gate: Arc<Gate>,
    hand: Arc<dyn Hand>,
    presets: Vec<Preset>,
    watchers: Arc<Semaphore>,
}

impl Api {
    /// The API of a gate. A denial may name one of these presets.
    pub fn new(gate: Arc<Gate>, hand: Arc<dyn Hand>, presets: Vec<Preset>) -> Self {
        Self { gate, hand, presets, watchers: Arc::new(Semaphore::new(events::STREAMS)) }
    }

    fn desk(&self) -> &Desk {
        self.gate.desk()
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
        .route("/events", get(watch))
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
    Extension(reviewer): Extension<Reviewer>,
    request: Request<Body>,
) -> Answer {
    let id = named(&id)?;
    let mut fields = Fields::read(request, SMALL, &["hash", "justification"]).await?;
    let (seen, justification) = (fields.hash()?, fields.text("justification")?);
    let step = Step::Sign { reviewer: reviewer.clone(), justification, seen };
    let hold = api.desk().step(id, step).await?;
    Ok(decided(&hold, &reviewer))
}

async fn deny(
    State(api): Shared,
    Path(id): Path<String>,
    Extension(reviewer): Extension<Reviewer>,
    request: Request<Body>,
) -> Answer {
    let id = named(&id)?;
    let mut fields = Fields::read(request, SMALL, &["preset", "reason"]).await?;
    let (preset, reason) = (fields.text("preset")?, fields.text("reason")?);
    let preset = preset.map(|code| known_preset(&api.presets, &code)).transpose()?;
    let (code, message) = match (preset, reason) {
        (Some(preset), Some(reason)) => {
            (preset.code.clone(), format!("{}: {reason}", preset.message))
        }
        (Some(preset), None) => (preset.code.clone(), preset.message.clone()),
        (None, Some(reason)) => ("denied".to_owned(), reason),
        (None, None) => return Err(ApiFault::body("`preset` or `reason` is needed")),
    };
    let ending = Ending { by: Some(reviewer.id.clone()), code, message };
    let step = Step::Deny { reviewer: reviewer.clone(), ending };
    let hold = api.desk().step(id, step).await?;
    Ok(decided(&hold, &reviewer))
}

async fn answer(
    State(api): Shared,
    Path(id): Path<String>,
    Extension(reviewer): Extension<Reviewer>,
    request: Request<Body>,
) -> Answer {
    let id = named(&id)?;
    let mut fields = Fields::read(request, SMALL, &["message"]).await?;
    let message = fields.text("message")?.ok_or_else(|| ApiFault::body("`message` is needed"))?;
    let code = Ending::ANSWERED.to_owned();
    let ending = Ending { by: Some(reviewer.id.clone()), code, message };
    let step = Step::Deny { reviewer: reviewer.clone(), ending };
    let hold = api.desk().step(id, step).await?;
    Ok(decided(&hold, &reviewer))
}

async fn edit(
    State(api): Shared,
    Path(id): Path<String>,
    Extension(reviewer): Extension<Reviewer>,
    request: Request<Body>,
) -> Answer {
    let id = named(&id)?;
    let known = ["hash", "arguments", "justification"];
    let mut fields = Fields::read(request, LARGE, &known).await?;
    let edited = Edited {
        reviewer: reviewer.clone(),
        justification: fields.text("justification")?,
        seen: fields.hash()?,
        arguments: fields.value("arguments")?,
    };
    let hold = api.gate.edit(&*api.hand, id, edited).await?;
    Ok(decided(&hold, &reviewer))
}

async fn watch(State(api): Shared) -> Answer {
    events::events(api.desk(), &api.watchers)
}

fn decided(hold: &Hold, reviewer: &Reviewer) -> Response {
    Json(Whole::of(hold, reviewer)).into_response()
}

fn named(id: &str) -> Result<HoldId, ApiFault> {
    id.parse().map_err(|_| ApiFault::unknown_hold())
}

fn known_preset<'a>(presets: &'a [Preset], code: &str) -> Result<&'a Preset, ApiFault> {
    presets.iter().find(|preset| preset.code == code).ok_or_else(|| {
        let codes = presets.iter().map(|preset| preset.code.as_str()).collect::<Vec<_>>();
        ApiFault::body(match codes.as_slice() {
            [] => "no presets are configured; give a `reason`".to_owned(),
            codes => format!("`preset` is one of `{}`", codes.join("`, `")),
        })
    })
}
