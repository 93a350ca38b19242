//! Do imports go one way?
//!
//! `time`, `json`, `host`, `private`, `call`, `hold`, `refusal` ← `config`, `tools`, `store`, `metrics`, `trail`,
//! `tls`, `telemetry`, `notify` ← `gate`
//! ← `front`, `review` ← `app` ← `cli`. Within one layer a module may use only the ones before it
//! in this list, so that no circle can begin. Checks in `gate/` never use each other; what a file
//! and its own children do among themselves is their business.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Lowest first. A file of a layer may use lower layers, and what stands before it in its own.
const LAYERS: &[&[&str]] = &[
    &["time", "json", "host", "private", "call", "hold", "refusal"],
    &["config", "tools", "store", "metrics", "trail", "tls", "telemetry", "notify"],
    &["gate"],
    &["front", "review"],
    &["app"],
    &["cli"],
];

/// Each of these asks one question of a call; `decide` asks them in order.
const CHECKS: &[&str] =
    &["identify", "parse", "schema", "limit", "breaker", "policy", "budget", "hold", "redact"];

fn rank(module: &str) -> Option<(usize, usize)> {
    LAYERS.iter().enumerate().find_map(|(layer, modules)| {
        modules.iter().position(|name| *name == module).map(|place| (layer, place))
    })
}

/// The paths below `crate::` that a text names, each as its segments; groups are taken apart.
fn used(text: &str) -> BTreeSet<Vec<String>> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        paths(&code[at + "crate::".len()..], &mut Vec::new(), &mut found);
    }
    found
}

/// Reads one path or group; gives what follows it.
fn paths<'t>(
    text: &'t str,
    so_far: &mut Vec<String>,
    found: &mut BTreeSet<Vec<String>>,
) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if rest.is_empty() {
                return rest;
            }
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let before = rest.len();
            rest = paths(rest, so_far, found);
            if rest.len() == before {
                return "";
            }
            if let Some(after) = rest.trim_start().strip_prefix("as ") {
                rest = after
                    .trim_start()
                    .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    so_far.push(name.to_owned());
    let rest = match rest.trim_start().strip_prefix("::") {
        Some(deeper) => paths(deeper, so_far, found),
        None => {
            found.insert(so_far.clone());
            rest.strip_prefix('*').unwrap_or(rest)
        }
    };
    so_far.pop();
    rest
}

/// What in a file goes the wrong way; `file` is its path below `src/`.
fn offences(file: &str, text: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs");
    let own: Vec<&str> = path.split('/').collect();
    let Some(own_rank) = rank(own[0]) else {
        // The crate's root names all modules, and the binary runs the command line.
        return if ["lib", "main"].contains(&own[0]) {
            Vec::new()
        } else {
            vec![format!("{file}: `{}` is in no layer", own[0])]
        };
    };
    let mut offences = Vec::new();
    for used in used(text) {
        let target = used[0].as_str();
        if target != own[0] {
            match rank(target) {
                Some(rank) if rank < own_rank => {}
                Some(_) => offences.push(format!("{file}: `{}` uses `{target}`", own[0])),
                None => offences.push(format!("{file}: `{target}` is in no layer")),
            }
        }
    }
    if let ["gate", check, ..] = own.as_slice()
        && CHECKS.contains(check)
    {
        for other in CHECKS.iter().filter(|other| *other != check) {
            if names_sibling(text, other) {
                offences.push(format!("{file}: check `{check}` uses check `{other}`"));
            }
        }
    }
    offences
}

/// Whether a check's file names another check, from the crate's root or by way of `super`.
fn names_sibling(text: &str, other: &str) -> bool {
    let from_root = used(text).iter().any(|path| {
        path.first().is_some_and(|m| m == "gate") && path.get(1).is_some_and(|m| m == other)
    });
    let by_super = text.lines().any(|line| {
        let code = line.split("//").next().unwrap_or_default();
        code.contains(&format!("super::{other}::"))
            || code.contains(&format!("super::{{{other}::"))
            || code.contains(&format!("use super::{other};"))
    });
    from_root || by_super
}

fn files(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_go_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    assert!(found.len() > 15, "the sources were not found");
    let offences: Vec<String> = found
        .iter()
        .flat_map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            offences(&name, &fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn an_import_the_wrong_way_is_found() {
    for (file, text, offends) in [
        ("gate.rs", "use crate::config::Config;", false),
        ("config.rs", "use crate::gate::Gate;", true),
        ("config.rs", "// use crate::gate::Gate;", false),
        ("config/agents.rs", "use crate::config::Secret;", false),
        ("tools.rs", "use crate::{json::Digest, gate::{Gate, policy}};", true),
        ("tools.rs", "use crate::{json::{Digest, Map as M, *}, config::Problem};", false),
        ("tools.rs", "use crate::{\n    json::Digest,\n    front::mcp,\n};", true),
        ("tools/pins.rs", "use crate::metrics::Metrics;", true),
        ("telemetry.rs", "use crate::config::Log;", false),
        ("trail.rs", "fn f() { crate::app::serve() }", true),
        ("front/mcp.rs", "use crate::gate::Gate;", false),
        ("front/mcp.rs", "use crate::app::App;", true),
        ("review.rs", "use crate::front::mcp;", false),
        ("front.rs", "use crate::review::Health;", true),
        ("app.rs", "use crate::cli::COMMIT;", true),
        ("cli/run.rs", "use crate::app::serve;", false),
        ("cli/run.rs", "use super::ConfigFile;", false),
        ("json.rs", "use crate::call::Call;", true),
        ("call.rs", "pub(crate) use crate::json::Digest;", false),
        ("gate/schema.rs", "use crate::gate::policy::Verdict;", true),
        ("gate/schema.rs", "use super::policy::Verdict;", true),
        ("gate/policy/reads.rs", "use super::super::schema;\nuse super::super::schema::X;", true),
        ("gate/policy/reads.rs", "use crate::gate::policy::Settings;", false),
        ("gate/decide.rs", "use crate::gate::{policy, schema};", false),
        ("elsewhere.rs", "", true),
        ("gate.rs", "use crate::elsewhere::X;", true),
        ("main.rs", "use crate::cli;", false),
    ] {
        let found = offences(file, text);
        assert_eq!(!found.is_empty(), offends, "{file}: {text}: {found:?}");
    }
}
