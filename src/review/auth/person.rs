//! Which person makes this request?
//!
//! [`Person`] is somebody who may look. [`Changing`] is somebody who may change something: by a
//! bearer token, which no browser sends by itself, or by a form of their own session.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Form, FromRef, FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};

use super::{Access, Session, is_foreign};
use crate::hold::Reviewer;

/// Who made the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Somebody who may look.
#[derive(Debug, Clone)]
pub struct Person {
    /// Who.
    pub reviewer: Reviewer,
    /// Their session; none by bearer token.
    pub session: Option<Session>,
}

impl Person {
    /// What their forms carry.
    pub fn csrf(&self) -> &str {
        self.session.as_ref().map_or("", Session::csrf)
    }

    /// Whether a change with this token may be theirs. A bearer token needs no other: no browser
    /// sends it by itself.
    pub fn may_change(&self, headers: &HeaderMap, token: &str) -> Result<(), Stranger> {
        match &self.session {
            Some(session) if is_foreign(headers) || !session.has_token(token) => {
                Err(Stranger::Forged)
            }
            _ => Ok(()),
        }
    }
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// Nothing was shown.
    Nobody,
    /// A browser with nothing to show, which can go and sign in.
    Visitor,
    /// A token that is no reviewer's.
    Wrong,
    /// Too many tokens that were no reviewer's.
    TooMany,
    /// Another site's page made the browser ask, or the form is not of this session.
    Forged,
}

impl IntoResponse for Stranger {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            Self::Visitor => return Redirect::to("/sign-in").into_response(),
            Self::Nobody => (StatusCode::UNAUTHORIZED, "sign in, or send a reviewer's token\n"),
            Self::Wrong => (StatusCode::UNAUTHORIZED, "no reviewer has this token\n"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too many tries; wait a minute\n"),
            Self::Forged => {
                (StatusCode::FORBIDDEN, "this does not come from a page of yours; load it again\n")
            }
        };
        let mut response = (status, why).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl Access {
    fn person(&self, head: &Parts) -> Result<Person, Stranger> {
        // Whoever shows a token means it: a cookie beside it counts for nothing.
        if head.headers.contains_key(header::AUTHORIZATION) {
            let from = head.extensions.get::<Peer>().ok_or(Stranger::Nobody)?;
            let token = bearer(&head.headers).ok_or(Stranger::Wrong)?;
            let session = self.by_token(token, from.0).map_err(|fault| match fault {
                super::SignInFault::TooMany => Stranger::TooMany,
                _ => Stranger::Wrong,
            })?;
            return Ok(Person { reviewer: session.reviewer, session: None });
        }
        match self.session(&head.headers) {
            Some(session) => {
                Ok(Person { reviewer: session.reviewer.clone(), session: Some(session) })
            }
            None if is_page_visit(head) => Err(Stranger::Visitor),
            None => Err(Stranger::Nobody),
        }
    }
}

/// Whether it is a browser that would show what comes back.
fn is_page_visit(head: &Parts) -> bool {
    let accepts = head.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let page = accepts.is_some_and(|accept| accept.contains("text/html"));
    // A part of a page is not replaced by a form to sign in.
    let part = head.headers.contains_key("hx-request");
    matches!(head.method, Method::GET | Method::HEAD) && page && !part
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (shown.next(), shown.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl<S> FromRequestParts<S> for Person
where
    S: Send + Sync,
    Arc<Access>: FromRef<S>,
{
    type Rejection = Stranger;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Stranger> {
        Arc::<Access>::from_ref(state).person(head)
    }
}

/// Somebody who may change something, with the form they sent.
pub struct Changing {
    /// Who.
    pub person: Person,
    /// What they sent.
    pub fields: Fields,
}

/// The fields of a form.
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The field of that name; nothing, if it is blank or not there.
    pub fn one(&self, name: &str) -> Option<&str> {
        let (_, text) = self.0.iter().find(|(own, _)| own == name)?;
        (!text.trim().is_empty()).then_some(text.as_str())
    }

    /// All fields of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, text)| text.as_str())
    }
}

impl<S> FromRequest<S> for Changing
where
    S: Send + Sync,
    Arc<Access>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut head, body) = request.into_parts();
        let person = Person::from_request_parts(&mut head, state)
            .await
            .map_err(IntoResponse::into_response)?;
        if person.session.is_some() && is_foreign(&head.headers) {
            return Err(Stranger::Forged.into_response());
        }
        let request = Request::from_parts(head, body);
        let Form(fields) =
            Form::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        let fields = Fields(fields);
        let token = fields.all("csrf").next().unwrap_or_default();
        match &person.session {
            Some(session) if !session.has_token(token) => Err(Stranger::Forged.into_response()),
            _ => Ok(Self { person, fields }),
        }
    }
}
