//! A gate, as a process, with files of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{self, Connection, Response};
use super::upstream::Upstream;

const ALLOW_ALL: &str = "package countersign.permission\n\nallow := true\n\nvisible := true\n";
const PATIENCE: Duration = Duration::from_secs(20);

/// What a gate is started with. By default: whoever connects is the agent `dev`, one server
/// `crm`, everything allowed, every tool of tier `low`.
#[derive(Clone)]
pub(crate) struct Setup {
    upstream: String,
    agents: String,
    server: String,
    operator: String,
    top: String,
    files: Vec<(String, String)>,
    wait_ready: bool,
    descriptors: Option<String>,
}

impl Setup {
    /// In front of this upstream.
    pub(crate) fn to(upstream: &Upstream) -> Self {
        Self::at(&format!("http://{}/mcp", upstream.address))
    }

    /// In front of whatever is at this URL.
    pub(crate) fn at(url: &str) -> Self {
        let files = [
            ("policies/permission.rego", ALLOW_ALL),
            ("tools/all.yaml", "server: crm\ntools:\n  \"*\": {tier: low}\n"),
        ];
        Self {
            upstream: url.to_owned(),
            agents: "  - {id: dev, anonymous: true}\n".to_owned(),
            server: String::new(),
            operator: String::new(),
            top: String::new(),
            files: files.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
            wait_ready: true,
            descriptors: None,
        }
    }

    /// Puts a file beside the config, in place of one of that name.
    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        self.files.retain(|(known, _)| known != name);
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Leaves a file out that is there by default.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.files.retain(|(known, _)| known != name);
        self
    }

    /// The whole permission policy, below its package line.
    pub(crate) fn permission(self, rules: &str) -> Self {
        let text = format!("package countersign.permission\n\n{rules}\n");
        self.file("policies/permission.rego", &text)
    }

    /// Agents with bearer tokens (see [`Setup::token`]) in place of the anonymous one.
    pub(crate) fn agents(mut self, ids: &[&str]) -> Self {
        self.agents.clear();
        for id in ids {
            self.agents.push_str(&format!("  - {{id: {id}, token: {{file: ./{id}.token}}}}\n"));
            self = self.file(&format!("{id}.token"), &Self::token(id));
        }
        self
    }

    /// These agents, as lines of YAML, in place of the anonymous one.
    pub(crate) fn agent_lines(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.agents);
        self
    }

    /// The token of an agent.
    pub(crate) fn token(id: &str) -> String {
        format!("t0k3n-of-{id}-4f9a1c77e2")
    }

    /// More keys of the server, as YAML flow entries: `minimum_version: 2025-11-25, timeout: 1s`.
    pub(crate) fn server(mut self, entries: &str) -> Self {
        self.server = format!(", {entries}");
        self
    }

    /// More keys of the operator's listener, as YAML flow entries: `session: 1h`.
    pub(crate) fn operator(mut self, entries: &str) -> Self {
        self.operator = format!(", {entries}");
        self
    }

    /// More top-level keys, as YAML lines.
    pub(crate) fn config(mut self, lines: &str) -> Self {
        self.top.push_str(lines);
        self.top.push('\n');
        self
    }

    /// Does not wait for readiness: the test is about what happens before, or without.
    pub(crate) fn not_ready(mut self) -> Self {
        self.wait_ready = false;
        self
    }

    /// With at most so many file descriptors: the soft limit, and what it may be raised to.
    pub(crate) fn descriptors(mut self, soft: u32, hard: u32) -> Self {
        self.descriptors = Some(format!("--nofile={soft}:{hard}"));
        self
    }

    fn spawn(&self, directory: &Path) -> Child {
        let log = fs::File::create(directory.join("gate.log")).unwrap();
        let binary = env!("CARGO_BIN_EXE_countersign");
        let mut command = match &self.descriptors {
            None => Command::new(binary),
            Some(limit) => {
                // It becomes the gate, under the same process id.
                let mut command = Command::new("prlimit");
                command.args([limit, binary]);
                command
            }
        };
        command
            .arg("run")
            .args(["--config", "countersign.yaml"])
            .current_dir(directory)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn write(&self, directory: &Path, agents: SocketAddr, operators: SocketAddr) {
        for (name, text) in &self.files {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut options = fs::OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            std::io::Write::write_all(&mut options.open(path).unwrap(), text.as_bytes()).unwrap();
        }
        let config = format!(
            "listen: \"{agents}\"\noperator: {{listen: \"{operators}\"{}}}\nstate: ./state\n\
             policies: [./policies]\ntools: [./tools]\nagents:\n{}servers:\n  crm: {{mcp: \"{}\"{}}}\n{}",
            self.operator, self.agents, self.upstream, self.server, self.top
        );
        // An unoptimised gate on a busy machine is not what a test about something else is about.
        let patient = if self.top.contains("policy:") { "" } else { "policy: {deadline: 5s}\n" };
        fs::write(directory.join("countersign.yaml"), config + patient).unwrap();
    }
}

/// A gate that runs until it is dropped.
pub(crate) struct Gate {
    child: Child,
    directory: tempfile::TempDir,
    /// Where agents connect.
    pub(crate) agents: SocketAddr,
    /// Where operators connect.
    pub(crate) operators: SocketAddr,
}

impl Gate {
    /// Starts one, and waits until it is ready.
    pub(crate) fn start(setup: &Setup) -> Self {
        Self::start_in(setup, tempfile::tempdir().unwrap())
    }

    /// Starts one with the state of another.
    pub(crate) fn start_in(setup: &Setup, directory: tempfile::TempDir) -> Self {
        let mut directory = directory;
        // Another process may take a free port before the gate does: then once more.
        for _ in 0..5 {
            let (agents, operators) = (free_port(), free_port());
            setup.write(directory.path(), agents, operators);
            let child = setup.spawn(directory.path());
            let mut gate = Self { child, directory, agents, operators };
            match gate.up(setup.wait_ready) {
                Ok(()) => return gate,
                Err(log) if log.contains("in use") => directory = gate.take_directory(),
                Err(log) => panic!("the gate did not start:\n{log}"),
            }
        }
        panic!("no free port");
    }

    /// Starts one with the state of another, which has to be refused; what it says.
    pub(crate) fn refused_to_start(setup: &Setup, directory: &Path) -> String {
        setup.write(directory, free_port(), free_port());
        let mut child = setup.spawn(directory);
        assert_eq!(child.wait().unwrap().code(), Some(1));
        fs::read_to_string(directory.join("gate.log")).unwrap()
    }

    /// Starts one that cannot: its exit code, and what it said. It never was ready.
    pub(crate) fn fails(setup: &Setup) -> (i32, String) {
        let directory = tempfile::tempdir().unwrap();
        let (agents, operators) = (free_port(), free_port());
        setup.write(directory.path(), agents, operators);
        let child = setup.spawn(directory.path());
        let mut gate = Self { child, directory, agents, operators };
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = gate.child.try_wait().unwrap() {
                return (status.code().unwrap_or(-1), gate.log());
            }
            let ready = client::try_fetch(gate.operators, "/readyz");
            assert!(ready.is_none_or(|ready| ready.status != 200), "it is ready");
            assert!(Instant::now() < until, "it neither starts nor ends");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn up(&mut self, ready: bool) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let path = if ready { "/readyz" } else { "/healthz" };
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return Err(self.log());
            }
            if client::try_fetch(self.operators, path).is_some_and(|r| r.status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(self.log())
    }

    /// A connection to the agents' listener.
    pub(crate) fn connect(&self) -> Connection {
        Connection::to(self.agents)
    }

    /// Sends one message to `/mcp/crm`, as JSON, with no other header than it must have.
    pub(crate) fn post(&self, body: &str) -> Response {
        self.post_with(&[], body)
    }

    /// As [`Gate::post`], with more headers.
    pub(crate) fn post_with(&self, headers: &[(&str, &str)], body: &str) -> Response {
        self.send(&client::post("/mcp/crm", headers, body))
    }

    /// Sends any bytes on a connection of their own.
    pub(crate) fn send(&self, request: &[u8]) -> Response {
        let mut connection = self.connect();
        connection.send(request);
        connection.response()
    }

    /// Asks the operators' listener.
    pub(crate) fn operator(&self, path: &str) -> Response {
        client::try_fetch(self.operators, path).unwrap()
    }

    /// The value of a metric's series, such as `countersign_calls_total{tier="low"}`, summed over
    /// all series whose line begins with the name and has each of the labels.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.operator("/metrics").text();
        let named = |line: &&str| line.split([' ', '{']).next() == Some(name);
        let labelled = |line: &&str| labels.iter().all(|label| line.contains(label));
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        text.lines().filter(named).filter(labelled).map(value).sum()
    }

    /// Everything on the trail, verified, oldest first.
    pub(crate) fn trail(&self) -> Vec<Value> {
        countersign::trail::read(&self.path("state/trail"))
            .map(|entry| serde_json::from_slice(&entry.unwrap().body).unwrap())
            .collect()
    }

    /// The entries of one kind (`intent`, `outcome`, `policy`, …), once there are `count`.
    ///
    /// An entry may reach the trail a moment after its answer reached the client.
    pub(crate) fn entries(&self, kind: &str, count: usize) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut entries = self.trail();
            entries.retain(|entry| entry["kind"] == kind);
            if entries.len() >= count || Instant::now() > until {
                assert_eq!(entries.len(), count, "{entries:#?}");
                return entries;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All decisions on record: exactly `count`, each with a code of the closed list and the one
    /// policy digest (O2).
    pub(crate) fn decisions(&self, count: usize) -> Vec<Value> {
        let decisions = self.entries("intent", count);
        let policy = &self.operator("/readyz").json()["checks"]["policy"];
        for decision in &decisions {
            let code = decision["code"].as_str().unwrap();
            assert!(code == "allowed" || CODES.contains(&code), "{decision}");
            let digest = decision["policy"].as_str().unwrap();
            assert!(policy.to_string().contains(digest), "{decision} {policy}");
        }
        decisions
    }

    /// The only decision on record.
    pub(crate) fn only_decision(&self) -> Value {
        self.decisions(1).remove(0)
    }

    /// A path below the directory of the gate's files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the gate has written to standard output and error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("gate.log")).unwrap_or_default()
    }

    /// The most memory that it ever had, in bytes.
    pub(crate) fn peak_resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Waits until it has as many files and sockets open as it should.
    pub(crate) fn until_open(&self, enough: impl Fn(usize) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count();
            if enough(open) {
                return;
            }
            assert!(Instant::now() < until, "it has {open} files and sockets open");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits until nobody can connect any more, or who could hears that it shuts down.
    pub(crate) fn until_draining(&self) {
        while client::try_fetch(self.agents, "/").is_some_and(|r| r.status == 404) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end, and gives the exit code.
    pub(crate) fn wait(&mut self) -> i32 {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the gate does not end:\n{}", self.log());
    }

    /// Asks it to end, and gives the exit code.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal("TERM");
        self.wait()
    }

    /// Kills it at once, and gives its files, to start another one with.
    pub(crate) fn kill(mut self) -> tempfile::TempDir {
        self.take_directory()
    }

    fn take_directory(&mut self) -> tempfile::TempDir {
        self.end();
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            std::io::Write::write_all(&mut std::io::stderr(), self.log().as_bytes()).unwrap();
        }
    }
}

/// Every code that a refusal may have.
const CODES: &[&str] = &[
    "invalid_json",
    "invalid_text",
    "duplicate_key",
    "reserved_key",
    "number_would_round",
    "too_deep",
    "too_large",
    "batch",
    "invalid_request",
    "invalid_params",
    "unknown_method",
    "header_mismatch",
    "unsupported_version",
    "not_found",
    "method_not_allowed",
    "request_timeout",
    "cancelled",
    "unsupported_media_type",
    "host_not_allowed",
    "origin_not_allowed",
    "unauthenticated",
    "identity_unavailable",
    "unknown_handle",
    "missing_capability",
    "unknown_tool",
    "unusable_tool",
    "changed_tool",
    "invalid_arguments",
    "denied",
    "policy_failed",
    "needs_signature",
    "reviewer_denied",
    "reviewer_answered",
    "hold_expired",
    "hold_void",
    "hold_cancelled",
    "hold_failed",
    "store_failed",
    "approved",
    "collected",
    "overloaded",
    "draining",
    "record_failed",
    "internal",
    "upstream_unreachable",
    "outcome_unknown",
    "invalid_answer",
];

/// A port that nobody has, and that no other test of this process is given: were it the kernel's
/// choice, two gates would now and then be told the same.
fn free_port() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() * 211;
    (0..20_000)
        .map(|_| 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap())))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port")
}
