mod pages;

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::metrics::Build;

fn report(phase: Phase) -> Report {
    Report {
        phase,
        checks: Checks {
            policy: Check::ok("3 packages").at("sha256:ab"),
            trail: Check::ok("writable"),
            tools: BTreeMap::from([("crm".to_owned(), Check::ok("9 tools"))]),
        },
    }
}

/// A listener on a real socket, whose report the test can change.
struct Running {
    address: std::net::SocketAddr,
    report: Arc<Mutex<Report>>,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

async fn run() -> Running {
    run_within(Limits::default()).await
}

async fn run_within(limits: Limits) -> Running {
    let metrics = Arc::new(Metrics::new(Build { version: "0", commit: "c" }).unwrap());
    let report = Arc::new(Mutex::new(report(Phase::Serving)));
    let told = Arc::clone(&report);
    let health: Arc<dyn Health> = Arc::new(move || told.lock().unwrap().clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let review = Arc::new(Review {
        metrics,
        health,
        hosts: vec!["gate.example".into()],
        limits,
        people: None,
    });
    let serving = tokio::spawn(review.serve(listener, stopped));
    Running { address, report, stop, serving }
}

impl Running {
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = self.send(&head).await;
        (status(&answer), answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn three_pages_are_served_to_readers_and_nothing_else() {
    let running = run().await;
    for (method, path, expected) in [
        ("GET", "/metrics", 200),
        ("HEAD", "/metrics", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/readyz?verbose", 200),
        ("POST", "/metrics", 405),
        ("DELETE", "/readyz", 405),
        ("GET", "/", 404),
        ("POST", "/mcp/crm", 404),
        ("GET", "/metrics/", 404),
        ("GET", "/../metrics", 404),
    ] {
        let (status, body) = running.ask(method, path).await;
        assert_eq!(status, expected, "{method} {path}");
        assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}");
    }
    let (_, scrape) = running.ask("GET", "/metrics").await;
    assert!(scrape.contains("countersign_build_info{"), "{scrape}");
}

#[tokio::test]
async fn readiness_follows_what_is_in_place() {
    let running = run().await;
    let cases: [(&str, Change, u16, u16); 8] = [
        ("all well", |_| {}, 200, 200),
        ("starting", |r| r.phase = Phase::Starting, 503, 503),
        ("draining", |r| r.phase = Phase::Draining, 200, 503),
        ("no policy", |r| r.checks.policy = Check::failed("none loaded"), 200, 503),
        ("no trail", |r| r.checks.trail = Check::failed("disk full"), 200, 503),
        ("no tools", |r| tools(r, Check::failed("not reached")), 200, 503),
        ("tools excused", |r| tools(r, Check::failed("not reached").excused()), 200, 200),
        ("tools at last", |r| tools(r, Check::ok("2 tools")), 200, 200),
    ];
    for (name, change, health, ready) in cases {
        let mut now = report(Phase::Serving);
        change(&mut now);
        *running.report.lock().unwrap() = now;
        assert_eq!(running.ask("GET", "/healthz").await.0, health, "{name}");
        let (status, body) = running.ask("GET", "/readyz").await;
        assert_eq!(status, ready, "{name}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["ready"], ready == 200, "{name}");
        assert!(body["checks"]["tools"]["crm"]["detail"].is_string(), "{name}");
    }
}

type Change = fn(&mut Report);

fn tools(report: &mut Report, check: Check) {
    report.checks.tools.insert("crm".into(), check);
}

#[tokio::test]
async fn the_detail_names_the_revision_and_the_reason() {
    let running = run().await;
    running.report.lock().unwrap().checks.trail = Check::failed("disk full");
    let (_, body) = running.ask("GET", "/readyz").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({"ready": false, "phase": "serving", "checks": {
            "policy": {"ok": true, "detail": "3 packages", "revision": "sha256:ab"},
            "trail": {"ok": false, "detail": "disk full"},
            "tools": {"crm": {"ok": true, "detail": "9 tools"}},
        }})
    );
}

#[tokio::test]
async fn c08_a_rebound_name_reads_nothing() {
    let running = run().await;
    for (host, expected) in [
        ("Host: gate.example\r\n", 200),
        ("Host: evil.example\r\n", 403),
        ("Host: localhost\r\nHost: evil.example\r\n", 403),
        ("", 403),
    ] {
        let head = format!("GET /metrics HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        let answer = running.send(&head).await;
        assert_eq!(status(&answer), expected, "{host}");
        assert_eq!(answer.contains("countersign_"), expected == 200, "{host}");
    }
}

#[tokio::test]
async fn c13_headers_are_bounded() {
    let running = run().await;
    for (count, bytes, expected) in
        [(HEADERS - 2, 10, 200), (HEADERS, 10, 431), (1, HEAD_BYTES, 431)]
    {
        let more: String =
            (0..count).map(|n| format!("X-{n}: {}\r\n", "a".repeat(bytes))).collect();
        let head =
            format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
        let answer = running.send(&head).await;
        assert_eq!(status(&answer), expected, "{count} headers of {bytes} bytes");
    }
}

#[tokio::test]
async fn it_stops_when_told_and_frees_its_port() {
    let running = run().await;
    // An idle connection does not hold it up.
    let idle = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(running.ask("GET", "/healthz").await.0, 200);
    running.stop.send(true).unwrap();
    tokio::time::timeout(DRAIN_TIME + Duration::from_secs(1), running.serving)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn c13_a_peer_that_dawdles_loses_its_place_to_one_that_waits() {
    let brief = Duration::from_millis(200);
    let long = Duration::from_secs(60);
    for (name, limits, sends) in [
        (
            "a slow head",
            Limits { connections: 1, head_time: brief, connection_time: long },
            "GET /h",
        ),
        (
            "an idle connection",
            Limits { connections: 1, head_time: brief, connection_time: long },
            "",
        ),
        (
            "a busy connection",
            Limits { connections: 1, head_time: long, connection_time: brief },
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
    ] {
        let running = run_within(limits).await;
        let mut dawdler = TcpStream::connect(running.address).await.unwrap();
        dawdler.write_all(sends.as_bytes()).await.unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(running.ask("GET", "/healthz").await.0, 200, "{name}");
        assert!(begun.elapsed() >= brief / 2, "{name}: the bound did not hold the second back");
        assert!(begun.elapsed() < long / 4, "{name}");
        let mut rest = Vec::new();
        dawdler.read_to_end(&mut rest).await.unwrap();
    }
}
