//! How does a browser get to the issuer and back?
//!
//! What has to be the same when it comes back waits in a cookie of its own, signed, which the
//! issuer's redirect brings along (`SameSite=Lax`). The session's cookie is stricter: a browser
//! does not send it along a redirect from elsewhere, so a page of ours leads on, not a redirect.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum_extra::extract::cookie::{Cookie, SameSite, SignedCookieJar};
use http::{HeaderMap, StatusCode};
use maud::{DOCTYPE, html};

use super::{Fault, Flow, Oidc};
use crate::review::assets::AT;
use crate::review::auth::Access;
use crate::time::At;

/// Where people begin.
pub const SIGN_IN: &str = "/sign-in/oidc";
/// Where the issuer sends them back to.
pub const CALLBACK: &str = "/sign-in/oidc/callback";

/// Only there for the way to the issuer and back.
const COOKIE: &str = "countersign_oidc";
/// Bytes of a code or a state that are looked at.
const PARAMETER_BYTES: usize = 4096;

/// What signing in with an issuer takes.
struct Door {
    oidc: Arc<Oidc>,
    access: Arc<Access>,
}

/// The two paths, by which somebody gets a session.
pub fn routes(oidc: Arc<Oidc>, access: Arc<Access>) -> Router {
    let door = Arc::new(Door { oidc, access });
    Router::new().route(SIGN_IN, get(begin)).route(CALLBACK, get(come_back)).with_state(door)
}

async fn begin(State(door): State<Arc<Door>>) -> Response {
    let (url, flow) = match door.oidc.begin().await {
        Ok(begun) => begun,
        Err(fault) => return sorry(fault),
    };
    let Ok(kept) = serde_json::to_string(&flow) else { return sorry(Fault::Stale) };
    let (key, secure) = door.access.cookies();
    let jar = SignedCookieJar::new(key).add(cookie(kept, secure));
    (jar, Redirect::to(&url)).into_response()
}

async fn come_back(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let (key, secure) = door.access.cookies();
    let jar = SignedCookieJar::from_headers(&headers, key);
    let kept = jar.get(COOKIE);
    // Whatever comes of it, it is done: the same answer does not count twice.
    let jar = jar.remove(cookie(String::new(), secure));
    let found = match back(kept.as_ref(), &query.unwrap_or_default(), At::now()) {
        Ok((flow, code)) => door.oidc.finish(flow, code).await,
        Err(fault) => Err(fault),
    };
    match found {
        Ok(reviewer) => {
            tracing::info!(reviewer = reviewer.id, "somebody signed in with the issuer");
            let session = door.access.by_issuer(reviewer);
            (jar, door.access.remember(&session), onward()).into_response()
        }
        Err(fault) => (jar, sorry(fault)).into_response(),
    }
}

/// What was begun in this browser, and the code that the issuer gave for it.
fn back(kept: Option<&Cookie<'_>>, query: &str, now: At) -> Result<(Flow, String), Fault> {
    let kept = kept.and_then(|cookie| serde_json::from_str::<Flow>(cookie.value()).ok());
    let flow = kept.filter(|flow| now < flow.until).ok_or(Fault::Stale)?;
    let once = |wanted: &str| {
        let mut found = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == wanted);
        match (found.next(), found.next()) {
            (Some((_, value)), None) if value.len() <= PARAMETER_BYTES => Some(value.into_owned()),
            _ => None,
        }
    };
    let state = once("state").ok_or(Fault::Stale)?;
    // Of 128 random bits; both come from the same browser.
    if !bool::from(subtle::ConstantTimeEq::ct_eq(state.as_bytes(), flow.state.as_bytes())) {
        return Err(Fault::Stale);
    }
    if once("error").is_some() {
        return Err(Fault::Declined);
    }
    Ok((flow, once("code").ok_or(Fault::Declined)?))
}

fn cookie(kept: String, secure: bool) -> Cookie<'static> {
    // It says itself until when it is good, and goes with the browser's session.
    Cookie::build((COOKIE, kept))
        .path(SIGN_IN)
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(secure)
        .build()
}

fn onward() -> Html<String> {
    page("Signed in", html! { p { a href="/" { "Go on to the review page" } } }, Some("0; url=/"))
}

fn sorry(fault: Fault) -> Response {
    let status = match fault {
        Fault::Stale => StatusCode::BAD_REQUEST,
        Fault::Unreachable => StatusCode::BAD_GATEWAY,
        Fault::Declined
        | Fault::NotAccepted
        | Fault::Unverified
        | Fault::Nameless
        | Fault::NotAllowed => StatusCode::FORBIDDEN,
    };
    let content = html! {
        p role="alert" { (fault) "." }
        p { a href="/sign-in" { "Back to sign-in" } }
    };
    (status, page("Not signed in", content, None)).into_response()
}

fn page(title: &str, content: maud::Markup, refresh: Option<&str>) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) " · Countersign" }
                link rel="icon" type="image/svg+xml" href=(AT.icon);
                link rel="stylesheet" href=(AT.style);
                @if let Some(refresh) = refresh { meta http-equiv="refresh" content=(refresh); }
            }
            body { main.narrow { h1 { (title) } (content) } }
        }
    };
    Html(page.into_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_begun_here_and_lately_comes_back() {
        let flow = |until: u64| {
            let flow = Flow {
                state: "s1".into(),
                nonce: "n".into(),
                verifier: "v".into(),
                until: At::from_micros(until),
            };
            Cookie::new(COOKIE, serde_json::to_string(&flow).unwrap())
        };
        let now = At::from_micros(100);
        for (cookie, query, expected) in [
            (Some(flow(101)), "code=c&state=s1", Ok("c")),
            (Some(flow(101)), "state=s1&code=a%2Bb&iss=https%3A%2F%2Fid", Ok("a+b")),
            (Some(flow(100)), "code=c&state=s1", Err(Fault::Stale)),
            (None, "code=c&state=s1", Err(Fault::Stale)),
            (Some(Cookie::new(COOKIE, "{}")), "code=c&state=s1", Err(Fault::Stale)),
            (Some(flow(101)), "code=c&state=s2", Err(Fault::Stale)),
            (Some(flow(101)), "code=c", Err(Fault::Stale)),
            (Some(flow(101)), "code=c&state=s1&state=s1", Err(Fault::Stale)),
            (Some(flow(101)), "error=access_denied&state=s1", Err(Fault::Declined)),
            (Some(flow(101)), "error=access_denied&state=s2", Err(Fault::Stale)),
            (Some(flow(101)), "code=c&code=d&state=s1", Err(Fault::Declined)),
        ] {
            let found = back(cookie.as_ref(), query, now).map(|(_, code)| code);
            assert_eq!(found.as_deref().map_err(|fault| *fault), expected, "{query}");
        }
    }
}
