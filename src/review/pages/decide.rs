//! What did the reviewer decide?
//!
//! Each form ends here. What was done leads back to the page; what was not is told in the dialog,
//! with what was typed still in it.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use maud::html;

use super::layout::notice;
use super::queue;
use crate::gate::desk::StepFault;
use crate::hold::{Hold, HoldId};
use crate::json::Digest;
use crate::review::act::{self, ActFault, Change, Chosen, Denial, Office};
use crate::review::auth::{Changing, Fields, Person};
use crate::review::visible::{self, Line};

pub(super) async fn approve(
    Shared(office): Shared<Arc<Office>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Changing { person, fields }: Changing,
) -> Response {
    let done = async {
        let chosen = Chosen { id: named(&id)?, seen: seen(&fields)? };
        office.sign(&person.reviewer, chosen, owned(&fields, "justification")).await
    };
    told(&Told { form: "approve", headers: &headers, person: &person }, done.await)
}

pub(super) async fn deny(
    Shared(office): Shared<Arc<Office>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Changing { person, fields }: Changing,
) -> Response {
    let done = async {
        let denial = Denial { preset: owned(&fields, "preset"), words: owned(&fields, "reason") };
        office.deny(&person.reviewer, named(&id)?, denial).await
    };
    told(&Told { form: "deny", headers: &headers, person: &person }, done.await)
}

pub(super) async fn answer(
    Shared(office): Shared<Arc<Office>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Changing { person, fields }: Changing,
) -> Response {
    let done =
        async { office.answer(&person.reviewer, named(&id)?, owned(&fields, "answer")).await };
    told(&Told { form: "answer", headers: &headers, person: &person }, done.await)
}

pub(super) async fn edit(
    Shared(office): Shared<Arc<Office>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Changing { person, fields }: Changing,
) -> Response {
    let done = async {
        let change = Change {
            seen: seen(&fields)?,
            arguments: act::arguments(fields.one("arguments").unwrap_or_default())?,
            justification: owned(&fields, "justification"),
        };
        office.edit(&person.reviewer, named(&id)?, change).await
    };
    told(&Told { form: "edit", headers: &headers, person: &person }, done.await)
}

/// Several calls of one tool.
pub(super) async fn together(
    Shared(office): Shared<Arc<Office>>,
    Changing { person, fields }: Changing,
) -> Response {
    let chosen: Result<Vec<_>, _> = fields.all("hold").map(chosen).collect();
    let outcomes = match chosen {
        Ok(chosen) => {
            let why = owned(&fields, "justification");
            office.sign_together(&person.reviewer, &chosen, why).await
        }
        Err(fault) => Err(fault),
    };
    let (said, status) = match outcomes {
        Ok(outcomes) => (summed(&outcomes), StatusCode::OK),
        Err(fault) => (format!("Nothing is approved: {fault}"), fault.status()),
    };
    queue::after(&office, &person, said, status).await
}

fn summed(outcomes: &act::Outcomes) -> String {
    let signed = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    let mut said = format!("{signed} signed");
    for (id, outcome) in outcomes {
        if let Err(fault) = outcome {
            said.push_str(&format!("; {id} is not: {}", visible::plain(&fault.to_string())));
        }
    }
    said
}

fn chosen(field: &str) -> Result<Chosen, ActFault> {
    let (id, seen) = field.split_once(' ').ok_or(StepFault::Unknown)?;
    let seen = seen.parse().map_err(|_| StepFault::Unknown)?;
    Ok(Chosen { id: named(id)?, seen })
}

fn named(id: &str) -> Result<HoldId, ActFault> {
    id.parse().map_err(|_| StepFault::Unknown.into())
}

fn seen(fields: &Fields) -> Result<Digest, ActFault> {
    let seen = fields.one("seen").and_then(|seen| seen.parse().ok());
    // Whoever does not say what they have seen has not seen it.
    seen.ok_or_else(|| StepFault::Barred(crate::hold::Barred::Changed).into())
}

fn owned(fields: &Fields, name: &str) -> Option<String> {
    fields.one(name).map(str::to_owned)
}

/// Where it is told.
struct Told<'a> {
    form: &'static str,
    headers: &'a HeaderMap,
    person: &'a Person,
}

fn told(told: &Told<'_>, outcome: Result<Hold, ActFault>) -> Response {
    let Told { form, headers, person } = told;
    let fault = match outcome {
        Ok(hold) => return Redirect::to(&format!("/holds/{}", hold.id)).into_response(),
        Err(fault) => fault,
    };
    let text = format!("This is not done: {fault}");
    if !headers.contains_key("hx-request") {
        return notice(fault.status(), Some(person), "Not done", &text);
    }
    let to = [
        ("hx-retarget", format!("#problem-{form}")),
        ("hx-reswap", "innerHTML".to_owned()),
        ("hx-reselect", ".problem".to_owned()),
    ];
    (fault.status(), to, html! { p.problem { (Line(&text)) } }).into_response()
}
