//! What will happen if this one is signed?

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::facts::{self, Past};
use super::layout::{Page, notice};
use super::words::{Said, class_of, since, standing, until, who};
use super::{arguments, dialogs, diff};
use crate::gate::desk::StepFault;
use crate::hold::{Hold, HoldId, State};
use crate::review::act::Office;
use crate::review::auth::Person;
use crate::review::visible::Line;
use crate::tools::Class;

pub(super) async fn page(
    person: Person,
    Shared(office): Shared<Arc<Office>>,
    Path(id): Path<String>,
) -> Response {
    match id.parse() {
        Ok(id) => show(&office, &person, id).await,
        Err(_) => absent(&person, &StepFault::Unknown),
    }
}

async fn show(office: &Office, person: &Person, id: HoldId) -> Response {
    let hold = match office.gate.desk().hold(id).await {
        Ok(hold) => hold,
        Err(fault) => return absent(person, &fault),
    };
    let past = office.gate.desk().past(&hold.ask).await.unwrap_or_default();
    let class = class_of(&office.gate, &hold.ask);
    let said = Said::of(&hold.ask, &class);
    let main = main(&View { hold: &hold, person, class: &class, said: &said, past: &past });
    let after = html! {
        // Never swapped itself, so it hears of each change.
        div #refresh hidden hx-get={ "/holds/" (id) } hx-trigger="sse:hold" hx-target="#main"
            hx-select="#main" hx-select-oob="#said" hx-swap="outerHTML" hx-sync="this:queue last" {}
        (dialogs::all(&hold, person, &said, &office.presets))
    };
    Page {
        title: &said.plain(),
        person: Some(person),
        events: Some(format!("/events?hold={id}")),
        said: standing(&hold),
        main,
        after,
    }
    .at(StatusCode::OK)
}

pub(super) fn absent(person: &Person, fault: &StepFault) -> Response {
    match fault {
        StepFault::Unknown => {
            let text = "there is no hold of this id; it may have been forgotten since";
            notice(StatusCode::NOT_FOUND, Some(person), "No such hold", text)
        }
        fault => {
            tracing::error!(error = %fault, "a hold cannot be read");
            let text = "the store cannot be read now; what is held stays held";
            notice(StatusCode::SERVICE_UNAVAILABLE, Some(person), "Try again", text)
        }
    }
}

struct View<'a> {
    hold: &'a Hold,
    person: &'a Person,
    class: &'a Class,
    said: &'a Said,
    past: &'a Past,
}

fn main(view: &View<'_>) -> Markup {
    let View { hold, class, said, past, .. } = view;
    let id = hold.id;
    html! {
        main #main data-hold=(id) data-state=(hold.state.name()) data-version=(hold.version)
            data-hash=(hold.ask.hash) {
            p.path { a href="/" { "Queue" } " / " code { (id) } }
            h1 { (said.markup()) }
            (summary(hold))
            (outcome(hold))
            (bar(view))
            (what(hold, class))
            (facts::rules(hold))
            (facts::impact(hold, class))
            (facts::claims(hold))
            (facts::session(hold))
            (facts::past(hold, past))
            (facts::history(hold))
        }
    }
}

/// Who, what, until when, and whose signatures.
fn summary(hold: &Hold) -> Markup {
    let (ask, tier) = (&hold.ask, hold.context.tier.name());
    html! {
        p.facts {
            span.state data-state=(hold.state.name()) { (hold.state.name()) }
            span.tier data-tier=(tier) { "tier " (tier) }
            span { "agent " b { (Line(&ask.agent.id)) } }
            span { "tool " code { (Line(&ask.server)) "/" (Line(&ask.tool)) } }
            span { "in " (Line(&hold.context.environment)) }
            @if hold.state == State::Pending {
                span { "waits " (since(hold.created_at)) }
                span { "expires in " (until(hold.expires_at)) }
            }
        }
        p {
            (standing(hold)) ". "
            @if hold.state == State::Pending { "Who may sign: " (who(&hold.terms, &hold.escalated)) ". " }
            @if let Some(from) = hold.terms.not_before { "Not sent before " time datetime=(from) { (from) } ". " }
            @if let Some(to) = hold.terms.not_after { "Not sent after " time datetime=(to) { (to) } ". " }
        }
        @if !hold.signatures.is_empty() {
            ul.signatures {
                @for signature in &hold.signatures {
                    li {
                        "Signed by " b { (Line(&signature.reviewer.id)) } ", " (since(signature.at)) " ago"
                        @if let Some(why) = &signature.justification { ": " q { (Line(why)) } }
                    }
                }
            }
        }
    }
}

fn outcome(hold: &Hold) -> Markup {
    html! {
        @if let Some(ending) = &hold.ending {
            p.ending {
                @if let Some(by) = &ending.by { b { (Line(by)) } ": " }
                (Line(&ending.message)) " " code { (Line(&ending.code)) }
            }
        }
    }
}

/// The buttons. Approval is locked as served; the script opens it once all was on screen.
fn bar(view: &View<'_>) -> Markup {
    let View { hold, person, .. } = view;
    let barred = hold.may_sign(&person.reviewer).err();
    let open = matches!(hold.state, State::Pending | State::Approved) && barred.is_none();
    let pending = hold.state == State::Pending;
    let signed = pending && hold.has_signed(&person.reviewer);
    let locked = arguments::is_long(&hold.ask.arguments);
    html! {
        @if hold.state.is_open() && let Some(barred) = &barred { p.barred { (barred.to_string()) "." } }
        @if open {
            div.bar role="group" aria-label="Decision" {
                @if pending && !signed {
                    button #approve.yes type="button" data-open="dialog-approve" data-locks[locked]
                        aria-disabled=[locked.then_some("true")] aria-describedby="unread" {
                        "Approve " kbd { "a" }
                    }
                }
                button #deny.no type="button" data-open="dialog-deny" { "Deny " kbd { "d" } }
                @if pending {
                    button #edit type="button" data-open="dialog-edit" { "Edit " kbd { "e" } }
                }
                button #answer type="button" data-open="dialog-answer" { "Answer " kbd { "r" } }
                span #unread {
                    @if signed { "You have signed it; another person has to." }
                    @else if locked && pending { "Approve opens once all of the arguments have been on screen." }
                }
            }
        }
    }
}

/// The call itself. The same one keeps its element, and with it what was read of it.
fn what(hold: &Hold, class: &Class) -> Markup {
    let digits = hold.ask.hash.to_string().replace("sha256:", "");
    let name = digits.get(..16).unwrap_or_default();
    html! {
        section aria-labelledby="arguments-title" {
            h2 #arguments-title { "What would be sent" }
            div id={ "arguments-" (name) } data-keep { (arguments::tree(&hold.ask.arguments)) }
            p.small { "Signatures are for exactly this: " code { (hold.ask.hash) } }
        }
        @if let Some(edit) = &hold.edited {
            section aria-labelledby="edited-title" {
                h2 #edited-title { "Changed by " (Line(&edit.by)) }
                (diff::of(&edit.arguments, &hold.ask.arguments))
            }
        }
        @if class.preview.is_some() && hold.state == State::Pending {
            section aria-labelledby="diff-title" {
                h2 #diff-title { "Before and after" }
                div id={ "diff-" (name) } data-keep hx-get={ "/holds/" (hold.id) "/diff" }
                    hx-trigger="load" hx-swap="innerHTML" { p { "Reading what is there now…" } }
            }
        }
    }
}
