//! What does a program hear when it cannot have what it asked for?
//!
//! One shape for all: `{"error":{"code","message"}}`, the code from a closed list that is in
//! `schemas/openapi.yaml`. Nothing of what was sent is in it: it may be a secret.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::gate::desk::StepFault;
use crate::hold::{Barred, State};
use crate::json;
use crate::review::act::ActFault;
use crate::store::StoreFault;
use crate::time::At;

/// The codes that are ours alone; the others are those of [`Barred`] and [`json::Fault`].
pub const OWN_CODES: [&str; 14] = [
    "invalid_query",
    "invalid_body",
    "unauthenticated",
    "forbidden",
    "unknown_hold",
    "no_result",
    "not_found",
    "method_not_allowed",
    "edit_refused",
    "too_large",
    "unsupported_media_type",
    "too_many",
    "too_many_tries",
    "store_failed",
];

/// Why a request is not answered as it would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiFault {
    #[serde(skip)]
    status: StatusCode,
    /// From the closed list.
    code: &'static str,
    /// For people: what would work.
    message: String,
    /// What the hold is now, where that is why.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    /// Who made it so, where it was a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<At>,
    /// Why an edited call would be refused: a refusal's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'static str>,
}

impl ApiFault {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, state: None, by: None, at: None, refusal: None }
    }

    /// What stands behind the `?` cannot be understood.
    pub fn query(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_query", message)
    }

    /// The body has not what it must have, or something else.
    pub fn body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_body", message)
    }

    /// The body is longer than it may be.
    pub fn too_large(bytes: usize) -> Self {
        let message = format!("the body is longer than {bytes} bytes, or ended early");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// The body is not said to be JSON.
    pub fn media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send JSON, with `Content-Type: application/json`",
        )
    }

    /// Nobody known asks.
    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "say who you are: `Authorization: Bearer` with a reviewer's token, or sign in",
        )
    }

    /// A browser's request that may not come from a page of ours.
    pub fn forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "with a session, send its token in `x-csrf-token`, from a page of this gate",
        )
    }

    /// Whoever asks from there has guessed too often.
    pub fn too_many_tries() -> Self {
        let message = "too many wrong tokens from this address; wait a minute";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", message)
    }

    /// There is no such hold.
    pub fn unknown_hold() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_hold", "there is no hold of that id")
    }

    /// There is nothing to collect.
    pub fn no_result() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_result", "no result of it is kept, or not yet")
    }

    /// Nothing is at that path.
    pub fn not_found() -> Self {
        let message = "nothing is at this path; `schemas/openapi.yaml` lists what there is";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Something is at that path, for another method.
    pub fn method_not_allowed() -> Self {
        let message = "this path takes another method; `allow` says which";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// So many watch already.
    pub fn too_many() -> Self {
        let message = "too many watch already; list the holds instead, or come back";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", message)
    }
}

impl From<json::Fault> for ApiFault {
    fn from(fault: json::Fault) -> Self {
        Self::new(fault.status(), fault.code(), format!("the body: {fault}"))
    }
}

impl From<StoreFault> for ApiFault {
    fn from(fault: StoreFault) -> Self {
        // The cause is for the operator.
        tracing::error!(error = %fault, "the store failed a request of the API");
        let message = "the gate cannot read or keep holds now; nothing was changed";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", message)
    }
}

impl From<Barred> for ApiFault {
    fn from(barred: Barred) -> Self {
        let status = match barred {
            Barred::NotAReviewer | Barred::Requester => StatusCode::FORBIDDEN,
            Barred::JustificationNeeded => StatusCode::BAD_REQUEST,
            Barred::Over { .. }
            | Barred::Changed
            | Barred::Late(_)
            | Barred::Closed
            | Barred::SignedAlready => StatusCode::CONFLICT,
        };
        let fault = Self::new(status, barred.code(), barred.to_string());
        match barred {
            Barred::Over { state, by, at } => {
                Self { state: Some(state), by, at: Some(at), ..fault }
            }
            Barred::Late(at) => Self { at: Some(at), ..fault },
            _ => fault,
        }
    }
}

impl From<StepFault> for ApiFault {
    fn from(fault: StepFault) -> Self {
        match fault {
            StepFault::Barred(barred) => barred.into(),
            StepFault::Unknown => Self::unknown_hold(),
            StepFault::Store(fault) => fault.into(),
            // Only a new hold needs room.
            StepFault::Full => Self::too_many(),
        }
    }
}

impl From<ActFault> for ApiFault {
    fn from(fault: ActFault) -> Self {
        let message = fault.to_string();
        match fault {
            ActFault::Step(fault) => fault.into(),
            ActFault::NotJson(fault) => fault.into(),
            ActFault::Refused(refusal) => Self {
                refusal: Some(refusal.code()),
                ..Self::new(StatusCode::CONFLICT, "edit_refused", message)
            },
            _ => Self::body(message),
        }
    }
}

impl IntoResponse for ApiFault {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Whole<'a> {
            error: &'a ApiFault,
        }
        let mut response = (self.status, Json(Whole { error: &self })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"countersign\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
