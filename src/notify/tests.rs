//! Against receivers that listen, on loopback.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config;
use crate::hold::{Ending, HoldTerms, Reviewer, Step};
use crate::metrics::Build;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const CANARY: &str = "canary-7d1f";
const QUICK: Tries = Tries { count: 5, pause: Duration::from_millis(1) };
/// No test waits longer for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hold as the store has it, with a canary wherever the agent wrote something.
fn held() -> Hold {
    let hash = format!("sha256:{}", "ab".repeat(32));
    serde_json::from_value(json!({
        "id": "hold-000000000000000000000000000000ff", "version": 1, "state": "pending",
        "binding": hash,
        "ask": {
            "door": "mcp", "agent": {"id": "bot", "groups": [], "claims": {}}, "server": "crm",
            "method": "tools/call", "tool": "refund", "hash": hash, "definition": null,
            "arguments": {"note": CANARY}, "call": "0198c0de-0000-7000-8000-000000000000",
            "claimed": {"user": CANARY, "reason": CANARY},
        },
        "context": {
            "tier": "high", "reversible": false, "environment": "test", "policy": hash,
            "reasons": [{"code": "large", "message": "over 100 USD", "policy": "reversibility"}],
        },
        "terms": {"reviewers": ["group:payments"], "approvals": 2},
        "created_at": "2026-11-21T10:00:00Z", "expires_at": "2026-11-21T10:30:00Z",
        "changed_at": "2026-11-21T10:00:00Z", "due_at": "2026-11-21T10:30:00Z", "history": [],
    }))
    .unwrap()
}

/// Somebody who listens, answers as told, and shows what came.
struct Receiver {
    address: SocketAddr,
    came: mpsc::UnboundedReceiver<(Parts, Bytes)>,
}

impl Receiver {
    /// Answers with each of these in turn, and then with 204.
    async fn start(answers: Vec<Response<()>>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, came) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tell, answers) = (tell.clone(), Arc::clone(&answers));
                match tls.clone() {
                    None => drop(tokio::spawn(converse(stream, tell, answers))),
                    Some(tls) => drop(tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            converse(stream, tell, answers).await;
                        }
                    })),
                }
            }
        });
        Self { address, came }
    }

    async fn next(&mut self) -> (Parts, Bytes) {
        tokio::time::timeout(PATIENCE, self.came.recv()).await.unwrap().unwrap()
    }

    async fn json(&mut self) -> Value {
        serde_json::from_slice(&self.next().await.1).unwrap()
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    tell: mpsc::UnboundedSender<(Parts, Bytes)>,
    answers: Arc<Mutex<VecDeque<Response<()>>>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (tell, answers) = (tell.clone(), Arc::clone(&answers));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let answer = answers.lock().unwrap().pop_front();
            tell.send((head, body)).unwrap();
            let answer = answer.unwrap_or_else(|| status(204));
            Ok::<_, Infallible>(answer.map(|()| Full::new(Bytes::new())))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn status(code: u16) -> Response<()> {
    Response::builder().status(code).body(()).unwrap()
}

/// What a config with this target comes to.
fn target(url: &str, more: &str) -> Notify {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    let text = format!(
        "policies: [./p]\nagents: [{{id: a, anonymous: true}}]\n\
         servers: {{crm: {{mcp: 'http://127.0.0.1:9/'}}}}\n\
         notify: [{{url: '{url}', secret: {{file: secret}}{more}}}]\n"
    );
    config::parse(&text, directory.path()).unwrap().notify.remove(0)
}

struct Told {
    notifier: Notifier,
    metrics: Arc<Metrics>,
}

impl Told {
    fn by(target: Notify, client: rustls::ClientConfig) -> Self {
        let metrics = Arc::new(Metrics::new(Build { version: "", commit: "" }).unwrap());
        let connector = tls::connector(client);
        let base = "https://review.example.com".to_owned();
        let notifier = Notifier::with(vec![target], base, Arc::clone(&metrics), connector, QUICK);
        Self { notifier, metrics }
    }

    fn plainly(receiver: &Receiver, more: &str) -> Self {
        let url = format!("http://{}/hook/{CANARY}-path?a=b", receiver.address);
        Self::by(target(&url, more), tls::plain_client().unwrap())
    }

    /// Waits until so many have come to this.
    async fn counted(&self, outcome: Notified, count: u32) {
        let line =
            format!("countersign_notifications_total{{outcome=\"{}\"}} {count}", outcome.name());
        let seen = async {
            while !self.metrics.render().lines().any(|seen| seen == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("never {line}"));
    }
}

#[test]
fn the_signature_is_the_one_that_receivers_compute() {
    // By `Webhook.sign` of the PyPI package `standardwebhooks` 1.0.0.
    let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let key = target("https://a/", "").secret.unwrap();
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    let signed = sign::signature(&key, id, 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signed.as_deref(), Some(expected));
}

#[tokio::test]
async fn an_event_is_signed_and_says_what_waits_and_not_with_what() {
    let mut receiver = Receiver::start(Vec::new(), None).await;
    let told = Told::plainly(&receiver, "");
    told.notifier.tell(Kind::Created, &held());
    let (head, body) = receiver.next().await;
    let header = |name| head.headers.get::<&str>(name).unwrap().to_str().unwrap();
    assert_eq!(head.method, http::Method::POST);
    assert_eq!(head.uri, "/hook/canary-7d1f-path?a=b");
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("webhook-id"), "msg_hold-000000000000000000000000000000ff_1_created");

    // As the convention has it, and not as our own code does.
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(header("webhook-id").as_bytes());
    mac.update(b".");
    mac.update(header("webhook-timestamp").as_bytes());
    mac.update(b".");
    mac.update(&body);
    let signature = header("webhook-signature").strip_prefix("v1,").unwrap();
    mac.verify_slice(&STANDARD.decode(signature).unwrap()).unwrap();

    assert!(!String::from_utf8_lossy(&body).contains(CANARY), "{body:?}");
    let mut event: Value = serde_json::from_slice(&body).unwrap();
    let at = event.as_object_mut().unwrap().remove("timestamp").unwrap();
    humantime::parse_rfc3339(at.as_str().unwrap()).unwrap();
    let expected = json!({"type": "hold.created", "data": {
        "id": "hold-000000000000000000000000000000ff", "state": "pending", "agent": "bot",
        "server": "crm", "tool": "refund", "tier": "high",
        "reasons": [{"code": "large", "message": "over 100 USD", "policy": "reversibility"}],
        "expires_at": "2026-11-21T10:30:00.000000Z", "missing": 2,
        "terms": {"reviewers": ["group:payments"], "approvals": 2, "justification": false},
        "url": "https://review.example.com/holds/hold-000000000000000000000000000000ff",
    }});
    assert_eq!(event, expected);
    told.counted(Notified::Sent, 1).await;
}

#[tokio::test]
async fn arguments_are_sent_where_the_config_says_so_and_they_are_short() {
    let mut receiver = Receiver::start(Vec::new(), None).await;
    let told = Told::plainly(&receiver, ", arguments: true");
    let mut hold = held();
    for (length, whole) in [(16 * 1024 - "{\"note\":\"\"}".len(), true), (16 * 1024, false)] {
        hold.ask.arguments = json!({"note": "x".repeat(length)});
        told.notifier.tell(Kind::Reminder, &hold);
        let event = receiver.json().await;
        assert_eq!(event["data"].get("arguments").is_some(), whole, "{length}");
        assert_eq!(event["data"].get("arguments_left_out").is_some(), !whole, "{length}");
    }
}

#[tokio::test]
async fn a_failure_is_tried_again_as_the_same_message() {
    let moved = Response::builder().status(302).header("location", "/elsewhere").body(()).unwrap();
    let later = Response::builder().status(429).header("retry-after", "0").body(()).unwrap();
    let mut receiver = Receiver::start(vec![status(500), moved, later], None).await;
    let told = Told::plainly(&receiver, "");
    told.notifier.tell(Kind::Escalated, &held());
    let (first, body) = receiver.next().await;
    for _ in 0..3 {
        let (head, again) = receiver.next().await;
        assert_eq!((&again, &head.uri), (&body, &first.uri));
        assert_eq!(head.headers["webhook-id"], first.headers["webhook-id"]);
    }
    told.counted(Notified::Sent, 1).await;
    assert!(receiver.came.try_recv().is_err(), "it was sent once more");
}

#[tokio::test]
async fn a_message_that_nobody_takes_is_given_up_and_holds_up_no_other() {
    let answers = (0..5).map(|_| status(500)).collect();
    let mut receiver = Receiver::start(answers, None).await;
    let told = Told::plainly(&receiver, "");
    told.notifier.tell(Kind::Created, &held());
    for _ in 0..5 {
        receiver.next().await;
    }
    told.counted(Notified::Failed, 1).await;
    told.notifier.tell(Kind::Decided, &held());
    let (head, _) = receiver.next().await;
    assert!(head.headers["webhook-id"].to_str().unwrap().ends_with("_decided"));
    told.counted(Notified::Sent, 1).await;
}

#[tokio::test]
async fn who_is_gone_is_told_nothing_more() {
    let mut receiver = Receiver::start(vec![status(410)], None).await;
    let told = Told::plainly(&receiver, "");
    told.notifier.tell(Kind::Created, &held());
    receiver.next().await;
    told.counted(Notified::Failed, 1).await;
    told.notifier.tell(Kind::Reminder, &held());
    told.counted(Notified::Dropped, 1).await;
    assert!(receiver.came.try_recv().is_err(), "it was told after all");
}

#[tokio::test]
async fn telling_never_waits_and_a_full_queue_drops() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let told = Told::by(target(&url, ""), tls::plain_client().unwrap());
    let hold = held();
    // One thread, and it does nothing else meanwhile: nothing leaves the queue.
    for _ in 0..QUEUE {
        told.notifier.tell(Kind::Created, &hold);
    }
    assert!(!told.metrics.render().contains("dropped"));
    told.notifier.tell(Kind::Created, &hold);
    assert!(told.metrics.render().contains(r#"notifications_total{outcome="dropped"} 1"#));
}

#[tokio::test]
async fn https_is_for_receivers_whose_authority_is_trusted() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name);
    std::fs::write(path("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let server = tls::server(&tls::ServerFiles {
        certificate: path("cert.pem"),
        key: path("key.pem"),
        clients: None,
    });
    let mut server = (*server.unwrap()).clone();
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let mut receiver = Receiver::start(Vec::new(), Some(acceptor)).await;
    let url = format!("https://localhost:{}/hook", receiver.address.port());

    let trusting = tls::ClientFiles { roots: Some(path("cert.pem")), identity: None };
    let told = Told::by(target(&url, ""), tls::client(&trusting).unwrap());
    told.notifier.tell(Kind::Created, &held());
    assert_eq!(receiver.json().await["type"], "hold.created");

    let told = Told::by(target(&url, ""), tls::plain_client().unwrap());
    told.notifier.tell(Kind::Created, &held());
    told.counted(Notified::Failed, 1).await;
    assert!(receiver.came.try_recv().is_err(), "it was told without trust");
}

#[tokio::test]
async fn d07_the_address_that_is_connected_to_is_checked() {
    // The second is a name to us; the resolver reads it as the first.
    for url in ["http://169.254.169.254/hook", "http://0xa9fea9fe/hook"] {
        let mut settings = target("https://a/", "");
        settings.url = config::WebhookUrl::unchecked(http::Uri::from_static(url));
        let told = Told::by(settings, tls::plain_client().unwrap());
        let message = Message { id: "msg_1".into(), body: Bytes::new() };
        let failure = told.notifier.targets[0].1.attempt(&message).await.unwrap_err();
        let mut causes = vec![failure.to_string()];
        let mut next = std::error::Error::source(&failure);
        while let Some(error) = next {
            causes.push(error.to_string());
            next = error.source();
        }
        assert!(causes.iter().any(|cause| cause.contains("never connected to")), "{causes:?}");
    }
}

/// Collects log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn o6_logs_say_who_was_not_told_and_no_secret() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let receiver = Receiver::start((0..5).map(|_| status(500)).collect(), None).await;
    let told = Told::plainly(&receiver, ", arguments: true");
    told.notifier.tell(Kind::Created, &held());
    told.counted(Notified::Failed, 1).await;
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains(&format!("a webhook to `http://{}` failed", receiver.address)), "{log}");
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    for secret in [CANARY, SECRET, &hex::encode(key)] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn in_a_chat_nothing_of_others_is_markup() {
    let mut receiver = Receiver::start(Vec::new(), None).await;
    let told = Told::plainly(&receiver, ", format: slack, arguments: true");
    let mut hold = held();
    hold.ask.tool = "<!channel> *pay* & <https://evil|go>\n\u{202e}x".into();
    hold.ask.claimed.reason = Some("<@U1> said so".into());
    hold.ask.arguments = json!({"to": "</script>\u{200b}", "long": "y".repeat(1000)});
    told.notifier.tell(Kind::Created, &hold);
    let message = receiver.json().await;
    let link = "https://review.example.com/holds/hold-000000000000000000000000000000ff";
    let blocks = message["blocks"].as_array().unwrap();
    let texts = |kind: &str| -> Vec<&str> {
        let ours = blocks.iter().filter(|block| block["text"]["type"] == kind);
        ours.map(|block| block["text"]["text"].as_str().unwrap()).collect()
    };
    let markup = texts("mrkdwn").join("\n");
    assert!(markup.contains(&format!("<{link}|Review it>; signatures missing: 2")), "{markup}");
    let tool = "crm / &lt;!channel&gt; *pay* &amp; &lt;https://evil|go&gt; \\u{202e}x (tier high)";
    let plain = texts("plain_text");
    assert_eq!(plain[0], format!("bot wants {tool}"));
    assert_eq!(plain[1], "Held: over 100 USD");
    assert_eq!(plain[2], format!("The agent claims that it acts for: {CANARY}"));
    assert_eq!(plain[3], "The agent claims that its reason is: &lt;@U1&gt; said so");
    assert!(plain[4].starts_with("Arguments, as the agent wrote them: {\"to\":\"&lt;/script&gt;"));
    assert!(plain[4].contains("\\u{200b}") && plain[4].ends_with('…'), "{}", plain[4]);
    assert_eq!(message["mrkdwn"], false);
    assert!(message["text"].as_str().unwrap().ends_with(tool), "{message}");
    assert!(blocks.iter().all(|block| block["text"]["text"].as_str().unwrap().len() <= 3000));
}

#[tokio::test]
async fn in_a_chat_nothing_the_agent_wrote_stands_unless_configured() {
    let mut receiver = Receiver::start(Vec::new(), None).await;
    let told = Told::plainly(&receiver, ", format: slack");
    let mut hold = held();
    for (what, state) in [(Kind::Escalated, State::Pending), (Kind::Decided, State::Denied)] {
        hold.state = state;
        told.notifier.tell(what, &hold);
        let message = receiver.json().await.to_string();
        assert!(!message.contains(CANARY), "{message}");
        assert_eq!(message.contains("Review it"), state == State::Pending, "{message}");
    }
}

#[test]
fn news_is_what_people_have_to_know() {
    let ann = || Reviewer { id: "ann".into(), groups: vec!["payments".into()], sole: false };
    let ending = || Ending { by: None, code: "denied".into(), message: "no".into() };
    let terms = HoldTerms { approvals: 2, ..HoldTerms::default() };
    let sign = |hold: &Hold| {
        let seen = hold.ask.hash;
        Step::Sign { reviewer: ann(), justification: None, seen }
    };
    let mut pending = held();
    pending.terms.approvals = 1;
    let at = pending.created_at;
    let remind = |escalate: &[&str]| Step::Remind {
        escalate: escalate.iter().map(|name| (*name).to_owned()).collect(),
        due_at: at,
    };
    let approved = pending.after(sign(&pending), at).unwrap();
    let sent = approved.after(Step::Claim, at).unwrap();
    let context = Box::new(pending.context.clone());
    let finish = Step::Finish { state: State::Unknown, ending: None, told: false };
    let done = sent.after(finish.clone(), at).unwrap();
    for (hold, step, told) in [
        (&held(), sign(&pending), None),
        (&pending, sign(&pending), Some(Kind::Decided)),
        (&pending, Step::Deny { reviewer: ann(), ending: ending() }, Some(Kind::Decided)),
        (&pending, Step::Cancel, Some(Kind::Decided)),
        (&pending, Step::Void { ending: ending() }, Some(Kind::Decided)),
        (&pending, remind(&[]), Some(Kind::Reminder)),
        (&pending, remind(&["group:oncall"]), Some(Kind::Escalated)),
        (&approved, Step::AskMore { terms, context }, Some(Kind::Reminder)),
        (&approved, Step::Claim, None),
        (&sent, Step::Release { why: "not sent".into() }, None),
        (&sent, finish, Some(Kind::Finished)),
        (&done, Step::Tell, None),
    ] {
        let next = hold.after(step.clone(), at).unwrap();
        assert_eq!(Kind::of(next.history.last().unwrap()), told, "{step:?}");
    }
}
