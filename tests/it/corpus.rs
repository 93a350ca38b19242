//! Does what the gate forwards mean the same to everyone?
//!
//! `tests/corpus/json/make.py` writes the files and says what their names mean.

#![cfg(test)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign::json::{self, Fault, Limits, Value};

/// File name to what stands for it.
type ByName<T> = BTreeMap<String, T>;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/json")
}

fn corpus() -> ByName<Vec<u8>> {
    let files = std::fs::read_dir(directory()).expect("the corpus");
    let files = files.map(|file| file.expect("a file").path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
            (name.to_owned(), std::fs::read(&path).expect("a readable file"))
        })
        .collect()
}

fn read(bytes: &[u8]) -> Result<Value, Fault> {
    json::parse(bytes, &Limits::default())
}

fn is_meant_to_pass(name: &str) -> bool {
    name.starts_with("valid_ok-") || name.starts_with("differ_ok-")
}

#[test]
fn each_file_is_accepted_or_refused_as_its_name_says() {
    let corpus = corpus();
    assert!(corpus.len() >= 150, "{} files", corpus.len());
    let mut wrong = Vec::new();
    for (name, bytes) in &corpus {
        let (_, says) = name.split_once('_').expect("KIND_CODE-what.json");
        let (says, _) = says.split_once('-').expect("KIND_CODE-what.json");
        let found = read(bytes).map_or_else(|fault| fault.code(), |_| "ok");
        if found != says {
            wrong.push(format!("{name}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn forwarded_bytes_mean_the_same_in_python_node_and_rust() {
    let accepted: ByName<Vec<u8>> =
        corpus().into_iter().filter(|(name, _)| is_meant_to_pass(name)).collect();
    assert!(accepted.len() >= 90, "{} files", accepted.len());
    let sent = tempfile::tempdir().expect("a directory");
    let forwarded = tempfile::tempdir().expect("a directory");
    let mut rust = ByName::new();
    for (name, bytes) in &accepted {
        let value = read(bytes).expect(name);
        let again = serde_json::to_vec(&value).expect("a value has a text");
        std::fs::write(sent.path().join(name), bytes).expect("a writable directory");
        std::fs::write(forwarded.path().join(name), &again).expect("a writable directory");
        assert_eq!(read(&again).as_ref(), Ok(&value), "{name}: ours reads ours");
        let read: Value = serde_json::from_slice(&again).expect(name);
        rust.insert(name.clone(), dump(&read));
    }
    let python = dumped_by("python3", "dump.py", forwarded.path());
    let node = dumped_by("node", "dump.mjs", forwarded.path());
    let doubles: ByName<String> =
        rust.iter().map(|(name, dump)| (name.clone(), dump.replace('i', "d"))).collect();
    same("python and rust", &python, &rust);
    same("node and rust", &node, &doubles);

    // And not only to each other: what was sent already meant this.
    same("python before", &dumped_by("python3", "dump.py", sent.path()), &python);
    same("node before", &dumped_by("node", "dump.mjs", sent.path()), &node);
}

fn same(what: &str, left: &ByName<String>, right: &ByName<String>) {
    assert!(left.keys().eq(right.keys()), "{what}: each file has its line");
    let differ: Vec<&String> =
        left.iter().filter(|(name, dump)| right.get(*name) != Some(dump)).map(|(n, _)| n).collect();
    assert!(differ.is_empty(), "{what} differ on {differ:#?}");
}

/// How another language's own parser reads each file of a directory.
fn dumped_by(program: &str, script: &str, files: &Path) -> ByName<String> {
    let run = Command::new(program).arg(directory().join(script)).arg(files).output();
    let run = run.unwrap_or_else(|error| panic!("`{program}` is needed for this test: {error}"));
    assert!(run.status.success(), "{program}: {}", String::from_utf8_lossy(&run.stderr));
    let lines = String::from_utf8(run.stdout).expect("ASCII");
    lines
        .lines()
        .map(|line| line.split_once('\t').expect("name, tab, dump"))
        .map(|(name, dump)| (name.to_owned(), dump.to_owned()))
        .collect()
}

/// The typed and exact form that `dump.py` and `dump.mjs` print too.
fn dump(value: &Value) -> String {
    match value {
        Value::Null => "n".to_owned(),
        Value::Bool(true) => "t".to_owned(),
        Value::Bool(false) => "f".to_owned(),
        Value::Number(number) => {
            let double = number.as_f64().expect("a double");
            format!("{}{:016x}", if number.is_f64() { 'd' } else { 'i' }, double.to_bits())
        }
        Value::String(string) => text(string),
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(dump).collect::<Vec<_>>().join(","))
        }
        Value::Object(members) => {
            let mut members: Vec<(String, String)> =
                members.iter().map(|(key, member)| (text(key), dump(member))).collect();
            members.sort();
            let members: Vec<String> =
                members.into_iter().map(|(key, member)| format!("{key}:{member}")).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

fn text(string: &str) -> String {
    let points: Vec<String> = string.chars().map(|c| format!("{:x}", u32::from(c))).collect();
    format!("s{}", points.join("."))
}
