//! Whose request is this?
//!
//! A reviewer's, by bearer token, or by a session: then a change also needs the session's own token
//! in `x-csrf-token`, which no other site's page can send.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, header};

use super::fault::ApiFault;
use crate::hold::Reviewer;
use crate::review::auth::{Access, Person, Stranger};

const CSRF: &str = "x-csrf-token";

/// Lets a request of somebody known pass, with who they are.
pub(super) async fn known(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut head, body) = request.into_parts();
    let mut response = match reviewer(&mut head, &access).await {
        Ok(reviewer) => {
            head.extensions.insert(reviewer);
            next.run(Request::from_parts(head, body)).await
        }
        Err(fault) => fault.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn reviewer(head: &mut Parts, access: &Arc<Access>) -> Result<Reviewer, ApiFault> {
    let person = Person::from_request_parts(head, access).await.map_err(told)?;
    if !head.method.is_safe() {
        let token = head.headers.get(CSRF).and_then(|token| token.to_str().ok());
        person.may_change(&head.headers, token.unwrap_or_default()).map_err(told)?;
    }
    Ok(person.reviewer)
}

fn told(stranger: Stranger) -> ApiFault {
    match stranger {
        Stranger::Nobody | Stranger::Visitor | Stranger::Wrong => ApiFault::unauthenticated(),
        Stranger::TooMany => ApiFault::too_many_tries(),
        Stranger::Forged => ApiFault::forbidden(),
    }
}
