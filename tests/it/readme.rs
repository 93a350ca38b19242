//! Does what the README says still work?
//!
//! Each fenced block has a role, the second word of its first line, and is held to it: commands
//! are run, output is compared line by line (`…` stands for anything), configs are checked. A
//! block without a role fails, so that nobody adds a command that nobody runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const README: &str = include_str!("../../README.md");
const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

#[test]
fn what_the_readme_says_works() {
    let mut reader = Reader::new();
    let mut roles = BTreeMap::new();
    for block in blocks(README) {
        *roles.entry(block.role.clone()).or_insert(0) += 1;
        reader.follow(&block);
    }
    for role in
        ["demo", "tests", "install", "run", "lend", "serve", "output", "refused", "held", "config"]
    {
        assert!(roles.contains_key(role), "the README has no `{role}` block");
    }
}

#[test]
fn the_table_of_keys_is_that_of_the_schema() {
    let schema = include_str!("../../schemas/config.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let mut known = BTreeSet::new();
    keys(&schema, &schema, "", &mut known);
    let told: BTreeSet<_> = rows("## Configuration", "key")
        .map(|cells| (cells[0].trim_matches('`').to_owned(), cells[1].trim_matches('`').to_owned()))
        .collect();
    assert_eq!(told, known);
}

#[test]
fn the_table_of_commands_is_that_of_the_help() {
    let help = Command::new(BINARY).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, after) = help.split_once("Commands:\n").unwrap();
    let known: BTreeSet<_> = after
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    let told: BTreeSet<_> = rows("## Configuration", "command")
        .map(|cells| cells[0].trim_start_matches('`').to_owned())
        .map(|cell| cell.split([' ', '`']).next().unwrap().to_owned())
        .collect();
    assert_eq!(told, known);
}

/// One fenced block.
struct Block {
    role: String,
    exit: i32,
    text: String,
}

fn blocks(readme: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        let Some(head) = line.trim_start().strip_prefix("```") else { continue };
        let margin = line.len() - line.trim_start().len();
        let inside = lines.by_ref().take_while(|line| line.trim() != "```");
        let text: Vec<_> = inside.map(|line| line.get(margin..).unwrap_or_default()).collect();
        let mut words = head.split(' ');
        let language = words.next().unwrap();
        let role = words.next().unwrap_or_default().to_owned();
        let exit = words
            .find_map(|word| word.strip_prefix("exit="))
            .map_or(0, |code| code.parse().unwrap());
        // The picture is the only block that nothing can be asked of.
        if language == "text" && role.is_empty() && found.is_empty() {
            continue;
        }
        found.push(Block { role, exit, text: text.join("\n") });
    }
    found
}

/// Somebody who does what the README says, in its order.
struct Reader {
    home: tempfile::TempDir,
    directory: PathBuf,
    said: String,
    demo: Vec<String>,
    agents: SocketAddr,
    operators: SocketAddr,
    sample: SocketAddr,
    served: Vec<Served>,
}

impl Reader {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self {
            directory: home.path().to_owned(),
            home,
            said: String::new(),
            demo: Vec::new(),
            agents: free(),
            operators: free(),
            sample: free(),
            served: Vec::new(),
        }
    }

    fn follow(&mut self, block: &Block) {
        match block.role.as_str() {
            "demo" => self.see_the_demo(block),
            "tests" => {
                let listed = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run"))
                    .arg("--list")
                    .output();
                assert_eq!(block.text, "./tests/run");
                assert!(listed.unwrap().status.success());
            }
            // Too long for a test; CI builds from the same lock file.
            "install" => assert_eq!(block.text, "cargo install --locked --path ."),
            "run" => self.run(block),
            "lend" => self.lend(block),
            "serve" => self.serve(block),
            "output" => expect(&block.text, &self.said),
            "refused" => expect(&format!("…{}…", block.text), &self.demo[1]),
            "held" => expect(&format!("…{}…", block.text), &self.demo[2]),
            "rule" => the_policies_say(block),
            "config" => self.check_config(block),
            _ => panic!("a block of the README without a role:\n{}", block.text),
        }
    }

    /// The text with the ports of this test.
    fn here(&self, text: &str) -> String {
        text.replace("127.0.0.1:8700", &self.agents.to_string())
            .replace("127.0.0.1:8701", &self.operators.to_string())
            .replace("127.0.0.1:9000", &self.sample.to_string())
    }

    fn shell(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let ours = Path::new(BINARY).parent().unwrap().display().to_string();
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).current_dir(&self.directory);
        command.env("PATH", format!("{ours}:{path}")).env_remove("COUNTERSIGN_CONFIG");
        command
    }

    fn run(&mut self, block: &Block) {
        let place = self.home.path().join("place");
        let script = format!("trap 'pwd > {}' EXIT\n{}", place.display(), self.here(&block.text));
        let output = self.shell(&script).output().unwrap();
        self.said = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            output.status.code(),
            Some(block.exit),
            "{}\n{}{complaint}",
            block.text,
            self.said
        );
        self.directory = PathBuf::from(fs::read_to_string(place).unwrap().trim());
    }

    /// Starts the demo's own server, where the gate expects one.
    fn lend(&mut self, block: &Block) {
        let mut command = self.shell(&format!("exec {}", self.here(&block.text)));
        self.served
            .push(Served(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()));
        while TcpStream::connect(self.sample).is_err() {
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(self.served.last_mut().unwrap().0.try_wait().unwrap(), None);
        }
    }

    fn serve(&mut self, block: &Block) {
        let config = self.directory.join("countersign.yaml");
        fs::write(&config, self.here(&fs::read_to_string(&config).unwrap())).unwrap();
        let mut command = self.shell(&format!("exec {}", block.text));
        let log = fs::File::create(self.home.path().join("log")).unwrap();
        self.served.push(Served(command.stderr(log).spawn().unwrap()));
        // Each look fails at once or is answered; the test's own limit ends it.
        while !answer(self.operators, "/readyz").is_some_and(|said| said.contains("200 OK")) {
            std::thread::sleep(Duration::from_millis(20));
            let ended = self.served.last_mut().unwrap().0.try_wait().unwrap();
            assert_eq!(
                ended,
                None,
                "{}",
                fs::read_to_string(self.home.path().join("log")).unwrap()
            );
        }
        self.metrics_are_told();
    }

    fn metrics_are_told(&self) {
        let metrics = answer(self.operators, "/metrics").unwrap();
        let source = include_str!("../../src/metrics.rs").to_owned()
            + include_str!("../../src/metrics/register.rs")
            + include_str!("../../src/metrics/holds.rs");
        let told: BTreeSet<_> = rows("## Metrics and probes", "metric")
            .map(|cells| cells[0].trim_matches('`').to_owned())
            .collect();
        for line in metrics.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let name = line.split(' ').next().unwrap();
            assert!(told.contains(name), "the README does not tell of `{name}`");
        }
        for name in told {
            let quoted = format!("\"{}\"", name.strip_prefix("countersign_").unwrap());
            assert!(source.contains(&quoted), "there is no metric `{name}`");
        }
    }

    /// Starts the demo and pastes what it prints.
    fn see_the_demo(&mut self, block: &Block) {
        let arguments = block.text.strip_prefix("cargo run --release -- ").unwrap();
        let script =
            format!("exec {BINARY} {arguments} --listen 127.0.0.1:0 --operator 127.0.0.1:0");
        let mut child =
            self.shell(&script).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let _demo = Served(child);
        let printed: Vec<_> = lines
            .by_ref()
            .map(Result::unwrap)
            .take_while(|line| line != "Ctrl-C ends it.")
            .collect();
        let printed = printed.join("\n");
        let commands = printed.split("\n\n").filter_map(|part| part.split_once(":\n"));
        let answers = commands.map(|(title, command)| {
            let output = self.shell(command).output().unwrap();
            assert!(output.status.success(), "{title}: {command}");
            (title.to_owned(), String::from_utf8(output.stdout).unwrap())
        });
        let (titles, answers): (Vec<_>, Vec<_>) = answers.unzip();
        assert_eq!(
            titles,
            ["Allowed", "Refused, by a rule", "Held, for a person to sign", "What happened"]
        );
        expect("…\"name\":\"Ada Okafor\"…", &answers[0]);
        expect("…  allow  …\n…  outcome  …\n…  deny  …\n…  hold  …", &answers[3]);
        self.demo = answers;
    }

    fn check_config(&self, block: &Block) {
        let directory = tempfile::tempdir().unwrap();
        let init = Command::new(BINARY).arg("init").current_dir(&directory).output().unwrap();
        assert!(init.status.success());
        fs::write(directory.path().join("countersign.yaml"), &block.text).unwrap();
        fs::write(
            directory.path().join("support-bot.token"),
            uuid::Uuid::new_v4().simple().to_string().repeat(2),
        )
        .unwrap();
        fs::write(directory.path().join("crm.credential"), "Bearer of-the-server").unwrap();
        let check = Command::new(BINARY).arg("check").current_dir(&directory).output().unwrap();
        assert!(check.status.success(), "{}", String::from_utf8(check.stderr).unwrap());
    }
}

/// What the README shows of a shipped rule is in the policies, but for what it leaves out.
fn the_policies_say(block: &Block) {
    let policies = include_str!("../../policies/reversibility.rego");
    let code = block.text.lines().find(|line| line.contains("\"code\"")).unwrap();
    assert!(policies.contains(code.trim()), "{code}");
}

/// A process that ends with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The whole answer to a GET.
fn answer(at: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

/// Each wanted line is a line that was said, in this order.
fn expect(wanted: &str, said: &str) {
    let mut lines = said.lines();
    for wanted in wanted.lines() {
        assert!(
            lines.any(|line| fits(wanted, line)),
            "`{wanted}` is not, or not in its place, in:\n{said}"
        );
    }
}

fn fits(wanted: &str, line: &str) -> bool {
    let parts: Vec<_> = wanted.split('…').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return wanted == line };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The cells of the table whose first heading is this, in this section.
fn rows(section: &str, heading: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let (_, section) = README.split_once(&format!("\n{section}\n")).unwrap();
    let (_, table) = section.split_once(&format!("\n| {heading} |")).unwrap();
    table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').skip(1).map(str::trim).collect())
}

fn keys(
    root: &serde_json::Value,
    object: &serde_json::Value,
    prefix: &str,
    found: &mut BTreeSet<(String, String)>,
) {
    for (key, value) in object["properties"].as_object().unwrap() {
        let meant = value["$ref"]
            .as_str()
            .map_or(value, |to| root.pointer(to.trim_start_matches('#')).unwrap());
        let key = format!("{prefix}{key}");
        if meant["properties"].is_object() {
            keys(root, meant, &format!("{key}."), found);
            continue;
        }
        let default = [value, meant].into_iter().find_map(|schema| schema.get("default"));
        let default = default
            .map_or(String::new(), |value| value.as_str().map_or(value.to_string(), str::to_owned));
        found.insert((key, default));
    }
}
