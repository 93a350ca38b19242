//! How does somebody come in, and go?

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, State as Shared};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::Page;
use crate::review::auth::{self, Access, Changing, Peer, Session, SignInFault};

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct Shown {
    token: String,
}

pub(super) async fn page(Shared(access): Shared<Arc<Access>>) -> Response {
    ask(&access, None)
}

fn ask(access: &Access, fault: Option<SignInFault>) -> Response {
    let main = html! {
        main.narrow {
            h1 { "Sign in" }
            @if let Some(fault) = fault { p role="alert" { "Not signed in: " (fault) "." } }
            @if let Some((name, path)) = access.elsewhere() {
                // A link: `form-action` would keep a form from leading to the issuer.
                p { a.button href=(path) { "Sign in with " (name) } }
                p.or { "or" }
            }
            form method="post" action="/sign-in" {
                label { span { "Reviewer token" }
                    input type="password" name="token" autocomplete="current-password" required; }
                button { "Sign in" }
            }
            p.small { "Started on this machine? The link that was printed on the terminal signs in once." }
        }
    };
    let status = match fault {
        None => StatusCode::OK,
        Some(SignInFault::TooMany) => StatusCode::TOO_MANY_REQUESTS,
        Some(SignInFault::NoLink) => StatusCode::GONE,
        Some(SignInFault::Wrong) => StatusCode::UNAUTHORIZED,
    };
    let (said, after) = (String::new(), html! {});
    Page { title: "Sign in", person: None, events: None, said, main, after }.at(status)
}

pub(super) async fn by_token(
    Shared(access): Shared<Arc<Access>>,
    Extension(Peer(from)): Extension<Peer>,
    headers: HeaderMap,
    Form(Shown { token }): Form<Shown>,
) -> Response {
    if auth::is_foreign(&headers) {
        return auth::Stranger::Forged.into_response();
    }
    entered(&access, access.by_token(token.trim(), from))
}

/// The page behind a one-time link. Looking at it uses nothing up: mail scanners look (E08).
pub(super) async fn link(Path(secret): Path<String>) -> Response {
    let main: Markup = html! {
        main.narrow {
            h1 { "Sign in" }
            p { "This link signs one browser in, once." }
            form method="post" action={ "/link/" (secret) } data-submits { button.yes { "Sign in" } }
        }
    };
    let (said, after) = (String::new(), html! {});
    Page { title: "Sign in", person: None, events: None, said, main, after }.at(StatusCode::OK)
}

pub(super) async fn by_link(
    Shared(access): Shared<Arc<Access>>,
    Path(secret): Path<String>,
    headers: HeaderMap,
) -> Response {
    if auth::is_foreign(&headers) {
        return auth::Stranger::Forged.into_response();
    }
    entered(&access, access.by_link(&secret))
}

fn entered(access: &Access, session: Result<Session, SignInFault>) -> Response {
    match session {
        Ok(session) => {
            tracing::info!(reviewer.id = session.reviewer.id, how = ?session.how, "a reviewer signed in");
            (access.remember(&session), Redirect::to("/")).into_response()
        }
        Err(fault) => {
            tracing::warn!(%fault, "somebody could not sign in");
            ask(access, Some(fault))
        }
    }
}

pub(super) async fn out(
    Shared(access): Shared<Arc<Access>>,
    headers: HeaderMap,
    Changing { person, .. }: Changing,
) -> Response {
    if let Some(session) = &person.session {
        access.end(session);
    }
    (access.forget(&headers), Redirect::to("/sign-in")).into_response()
}
