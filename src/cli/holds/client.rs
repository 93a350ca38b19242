//! What does the gate say?

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::Place;
use crate::cli::Failure;
use crate::review::visible;
use crate::tls::{self, Connector};

/// How long one answer may take. Deciding takes a write to disk, not more.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Bytes of one answer: a page of holds, or one with large arguments.
const ANSWER_BYTES: usize = 32 << 20;
/// Bytes of a token file.
const TOKEN_BYTES: u64 = 64 * 1024;

/// How it did not go.
#[derive(Debug)]
pub(super) enum Said {
    /// The gate says no.
    No(String),
    /// The gate cannot be asked, or what was asked for is not there.
    Failed(Failure),
}

impl<F: Into<Failure>> From<F> for Said {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}

impl Said {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(Failure::Message(message.into()))
    }
}

/// A running gate, and who we are to it.
pub(super) struct Gate {
    base: String,
    authorization: HeaderValue,
    client: Client<Connector, Full<Bytes>>,
}

impl Gate {
    pub(super) fn at(place: &Place) -> Result<Self, Failure> {
        let base = place.operator.trim_end_matches('/').to_owned();
        let url: Uri = base.parse().map_err(|_| not_a_gate())?;
        let secure = url.scheme_str() == Some("https");
        if !secure && !is_here(&url) {
            return Err(not_a_gate());
        }
        let files = tls::ClientFiles { roots: place.ca.clone(), identity: None };
        let tls = if secure { tls::client(&files) } else { tls::plain_client() };
        let connector = tls::connector(tls.map_err(|error| Failure::Message(error.to_string()))?);
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token(place)?))
            .map_err(|_| Failure::Message("the token has characters that no token has".into()))?;
        authorization.set_sensitive(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { base, authorization, client })
    }

    /// Some holds.
    pub(super) async fn list(&self, filters: &[(&str, Option<&String>)]) -> Result<Value, Said> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in filters {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        self.ask(Method::GET, &format!("/holds?{}", query.finish()), None).await
    }

    /// One of them.
    pub(super) async fn hold(&self, id: &str) -> Result<Value, Said> {
        self.ask(Method::GET, &format!("/holds/{}", segment(id)), None).await
    }

    /// Says something to one of them.
    pub(super) async fn tell(&self, id: &str, what: &str, body: &Value) -> Result<Value, Said> {
        self.ask(Method::POST, &format!("/holds/{}/{what}", segment(id)), Some(body)).await
    }

    /// The stream of changes.
    pub(super) async fn events(&self) -> Result<Incoming, Said> {
        let request = self.request(Method::GET, "/events", None)?;
        let response = self.send(request).await?;
        if response.status() == StatusCode::OK {
            return Ok(response.into_body());
        }
        Err(refusal(response.status(), &whole(response.into_body()).await?))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Said> {
        let request = self.request(method, path, body)?;
        let answer = async {
            let response = self.send(request).await?;
            Ok::<_, Said>((response.status(), whole(response.into_body()).await?))
        };
        let answer = tokio::time::timeout(ANSWER_TIME, answer).await;
        let late = |_| Said::failed(format!("the gate at {} does not answer", self.base));
        let (status, text) = answer.map_err(late)??;
        if status != StatusCode::OK {
            return Err(refusal(status, &text));
        }
        let not_ours = |_| Said::failed(format!("what answers at {} is no gate", self.base));
        serde_json::from_slice(&text).map_err(not_ours)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, Said> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{path}", self.base))
            .header(header::AUTHORIZATION, &self.authorization);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        request.body(Full::from(body)).map_err(|error| Said::failed(error.to_string()))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Said> {
        self.client.request(request).await.map_err(|error| {
            let mut causes = String::new();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                let _ = write!(causes, ": {inner}");
                cause = inner.source();
            }
            Said::failed(format!("the gate at {} cannot be reached{causes}", self.base))
        })
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Said> {
    let body = Limited::new(body, ANSWER_BYTES).collect().await;
    Ok(body.map_err(|error| Said::failed(format!("the answer broke off: {error}")))?.to_bytes())
}

/// What an answer says that is none.
fn refusal(status: StatusCode, text: &[u8]) -> Said {
    let told = serde_json::from_slice::<Value>(text).ok();
    let error = told.as_ref().and_then(|told| told.get("error"));
    let part = |name| error.and_then(|error| error.get(name)).and_then(Value::as_str);
    let (Some(code), Some(message)) = (part("code"), part("message")) else {
        return Said::failed(format!("the gate answered with {status}"));
    };
    let message = format!("{} ({})", visible::plain(message), visible::plain(code));
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::CONFLICT => {
            Said::No(message)
        }
        _ if code == "justification_needed" => Said::No(message),
        _ => Said::failed(message),
    }
}

/// A path segment: an id has nothing to escape, and what is no id must not lead elsewhere.
fn segment(id: &str) -> String {
    id.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

fn token(place: &Place) -> Result<String, Failure> {
    let text = match &place.token_file {
        Some(path) => {
            let failed = |error: std::io::Error| {
                Failure::Message(format!("`{}` cannot be read: {error}", path.display()))
            };
            if fs::metadata(path).map_err(failed)?.len() > TOKEN_BYTES {
                return Err(Failure::Message(format!("`{}` is no token", path.display())));
            }
            fs::read_to_string(path).map_err(failed)?
        }
        None => std::env::var("COUNTERSIGN_TOKEN").map_err(|_| {
            Failure::Usage("say who you are: `--token-file FILE`, or COUNTERSIGN_TOKEN".into())
        })?,
    };
    Ok(text.trim().to_owned())
}

fn is_here(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    url.scheme_str() == Some("http")
        && (host == "localhost" || address.is_ok_and(|ip: IpAddr| ip.is_loopback()))
}

fn not_a_gate() -> Failure {
    Failure::Usage(
        "`--operator` is an https URL, or http on this machine: elsewhere the token could be read \
         on the way (`kubectl port-forward` brings a pod's gate here)"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_in_its_segment() {
        assert_eq!(segment("hold-0a"), "hold-0a");
        assert_eq!(segment("../events?x#y"), "%2E%2E%2Fevents%3Fx%23y");
    }

    #[test]
    fn a_token_goes_nowhere_in_the_open() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        fs::write(&file, "k7Qw9ZpL2mXv4RtY\n").unwrap();
        for (operator, goes) in [
            ("http://127.0.0.1:8701", true),
            ("http://[::1]:8701/", true),
            ("http://localhost:1", true),
            ("http://gate.example:8701", false),
            ("http://10.0.0.7:8701", false),
            ("127.0.0.1:8701", false),
            ("ftp://127.0.0.1", false),
        ] {
            let place =
                Place { operator: operator.into(), token_file: Some(file.clone()), ca: None };
            assert_eq!(Gate::at(&place).is_ok(), goes, "{operator}");
        }
    }
}
