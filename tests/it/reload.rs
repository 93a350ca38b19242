//! What decides while files change?
//!
//! A gate that runs is given new policies: good ones, broken ones, half of one, and ones that come
//! as Kubernetes brings them, by the swap of a link.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Gate, Setup, Upstream, call, tool};

const PATIENCE: Duration = Duration::from_secs(20);
const ALLOW: &str = "package countersign.permission\n\nallow := true\n\nvisible := true\n";
const DENY: &str = "package countersign.permission\n\nallow := false\n\nvisible := true\n";

/// Waits until it is so. Shorter than the gate's look by the clock: the system has to tell it.
pub(crate) fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "it never came to be that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The revision that decides, and what `/readyz` says of it.
pub(crate) fn policy(gate: &Gate) -> (String, String) {
    let ready = gate.operator("/readyz");
    assert_eq!(ready.status, 200, "{ready:?}");
    let check = ready.json()["checks"]["policy"].clone();
    let text = |key: &str| check[key].as_str().unwrap_or_else(|| panic!("{check}")).to_owned();
    (text("revision"), text("detail"))
}

fn failed(gate: &Gate) -> bool {
    gate.metric("countersign_policy_failed", &[]) == 1.0
}

fn gate() -> (Upstream, Gate) {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let gate = Gate::start(&Setup::to(&upstream));
    (upstream, gate)
}

fn is_refused(gate: &Gate) -> bool {
    gate.post(&call(1, "echo", "{}")).json()["result"]["isError"] == true
}

#[test]
fn g01_a_broken_policy_keeps_the_one_before_and_says_so_everywhere() {
    let (_upstream, gate) = gate();
    let file = gate.path("policies/permission.rego");
    let (first, detail) = policy(&gate);
    assert_eq!(detail, "loaded");

    fs::write(&file, "package countersign.permission\n\nallow := true\n\ndeny contains if {\n")
        .unwrap();
    wait_until("the reload fails", || failed(&gate));
    let (second, detail) = policy(&gate);
    assert_eq!(second, first, "the one before decides");
    assert!(detail.contains("the last reload failed"), "{detail}");
    assert!(detail.contains("permission.rego:5:"), "{detail}");
    assert!(!is_refused(&gate));
    assert!(gate.metric("countersign_policy_reloads_total", &["result=\"failed\""]) >= 1.0);
    let log = gate.log();
    let told = log.lines().find(|line| line.contains("policy cannot be reloaded")).expect(&log);
    assert!(told.contains("permission.rego:5:") && told.contains(&first), "{told}");
    let entries = gate.trail();
    let kept: Vec<&Value> = entries.iter().filter(|entry| entry["kind"] == "policy").collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0]["old"], first.as_str());
    assert!(kept[0]["new"].is_null(), "{}", kept[0]);
    assert!(kept[0]["problem"].as_str().unwrap().contains("permission.rego:5:"), "{}", kept[0]);

    fs::write(&file, DENY).unwrap();
    wait_until("the mended policy decides", || is_refused(&gate));
    let (third, detail) = policy(&gate);
    assert_ne!(third, first);
    assert_eq!(detail, "loaded");
    assert!(!failed(&gate));
    let entries = gate.entries("policy", 2);
    assert_eq!(entries[1]["old"], first.as_str());
    assert_eq!(entries[1]["new"], third.as_str());
    assert_eq!(gate.metric("countersign_policy_info", &[&third]), 1.0);
}

#[test]
fn g01_half_a_policy_decides_nothing_until_it_is_whole() {
    let (_upstream, gate) = gate();
    let (first, _) = policy(&gate);
    let whole =
        format!("{DENY}\ndeny contains {{\"code\": \"no\", \"message\": \"no\"}} if true\n");
    // Cut within a rule: what stands before the cut would be a policy of its own.
    let half = whole.len() - 20;
    let file = gate.path("policies/permission.rego");
    fs::write(&file, &whole[..half]).unwrap();
    wait_until("half a policy is refused", || failed(&gate));
    assert_eq!(policy(&gate).0, first);
    assert!(!is_refused(&gate));
    fs::write(&file, &whole).unwrap();
    wait_until("the whole one decides", || is_refused(&gate));
    assert!(!failed(&gate));
}

#[test]
fn g01_each_kind_of_file_that_is_broken_or_gone_changes_nothing() {
    for (name, text, told) in [
        ("policies/permission.rego", None, "no policy files"),
        ("policies/other.rego", Some("package x\n\ny := nowhere(1)\n"), "other.rego:3:"),
        ("policies/data.yaml", Some("a: [\n"), "data.yaml"),
        ("tools/all.yaml", Some("server: crm\ntools:\n  '*': {tier: lowest}\n"), "all.yaml:3:"),
        ("tools.lock", Some("not a lock file"), "tools.lock"),
    ] {
        let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
        let gate = Gate::start(&Setup::to(&upstream).config("pins: ./tools.lock"));
        let (first, _) = policy(&gate);
        match text {
            Some(text) => fs::write(gate.path(name), text).unwrap(),
            None => fs::remove_file(gate.path(name)).unwrap(),
        }
        wait_until(name, || failed(&gate));
        let (second, detail) = policy(&gate);
        assert_eq!(second, first, "{name}");
        assert!(detail.contains(told), "{name}: {detail}");
        assert!(!is_refused(&gate), "{name}");
    }
}

#[test]
fn a_policy_that_is_put_back_decides_again_without_complaint() {
    let (_upstream, gate) = gate();
    let (first, _) = policy(&gate);
    let file = gate.path("policies/permission.rego");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, "package").unwrap();
    wait_until("the reload fails", || failed(&gate));
    fs::write(&file, good).unwrap();
    wait_until("it is as before", || !failed(&gate));
    assert_eq!(policy(&gate), (first, "loaded".to_owned()));
}

#[test]
fn a_new_tier_of_a_tool_file_decides_the_next_call() {
    let (_upstream, gate) = gate();
    gate.post(&call(1, "echo", "{}"));
    let (first, _) = policy(&gate);
    fs::write(gate.path("tools/all.yaml"), "server: crm\ntools:\n  '*': {tier: medium}\n").unwrap();
    wait_until("the tool file is read", || policy(&gate).0 != first);
    gate.post(&call(2, "echo", "{}"));
    let tiers: Vec<Value> =
        gate.entries("intent", 2).into_iter().map(|entry| entry["tier"].clone()).collect();
    assert_eq!(tiers, ["low", "medium"]);
}

/// Files as a ConfigMap is mounted: links to `..data/NAME`, and `..data` a link to a folder.
pub(crate) struct Mount<'a>(pub(crate) &'a Path);

impl Mount<'_> {
    /// Mounts the first version, with links that show nothing yet.
    pub(crate) fn lay(&self, version: &str, names: &[&str]) {
        fs::create_dir_all(self.0.join(version)).unwrap();
        symlink(version, self.0.join("..data")).unwrap();
        for name in names {
            symlink(format!("..data/{name}"), self.0.join(name)).unwrap();
        }
    }

    /// Swaps in another version, as the kubelet does it, and removes the one before.
    pub(crate) fn swap(&self, version: &str, files: &[(&str, &str)]) {
        let before = fs::read_link(self.0.join("..data")).unwrap();
        fs::create_dir(self.0.join(version)).unwrap();
        for (name, text) in files {
            fs::write(self.0.join(version).join(name), text).unwrap();
        }
        symlink(version, self.0.join("..data_tmp")).unwrap();
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
        fs::remove_dir_all(self.0.join(before)).unwrap();
    }
}

#[test]
fn a_config_map_is_followed_through_the_swap_of_its_link() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    Mount(&directory.path().join("policies")).lay("..2026_11_20_01", &["permission.rego"]);
    // The set-up writes through the links.
    let gate = Gate::start_in(&Setup::to(&upstream), directory);
    let policies = gate.path("policies");
    assert!(policies.join("..2026_11_20_01/permission.rego").is_file());
    assert!(!is_refused(&gate));
    let (first, _) = policy(&gate);

    Mount(&policies).swap("..2026_11_20_02", &[("permission.rego", DENY)]);
    wait_until("the second version decides", || is_refused(&gate));
    Mount(&policies).swap("..2026_11_20_03", &[("permission.rego", "package countersign")]);
    Mount(&policies).swap("..2026_11_20_04", &[("permission.rego", "package {")]);
    wait_until("the fourth is refused", || failed(&gate));
    Mount(&policies).swap("..2026_11_20_05", &[("permission.rego", ALLOW)]);
    wait_until("the fifth decides", || !is_refused(&gate));
    assert_eq!(policy(&gate), (first, "loaded".to_owned()), "same names, same texts");
}

#[test]
fn a_folder_that_is_replaced_is_watched_like_the_one_before() {
    let (_upstream, gate) = gate();
    let swap = |n: u32, text: &str| {
        let (next, last) = (gate.path(&format!("next{n}")), gate.path(&format!("last{n}")));
        fs::create_dir(&next).unwrap();
        fs::write(next.join("permission.rego"), text).unwrap();
        fs::rename(gate.path("policies"), last).unwrap();
        fs::rename(next, gate.path("policies")).unwrap();
    };
    swap(1, DENY);
    wait_until("the new folder decides", || is_refused(&gate));
    fs::write(gate.path("policies/permission.rego"), ALLOW).unwrap();
    wait_until("a change in the new folder decides", || !is_refused(&gate));
    swap(2, DENY);
    wait_until("the third folder decides", || is_refused(&gate));
}

#[test]
fn a_folder_behind_a_link_is_followed_to_where_the_link_goes() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("rev1")).unwrap();
    symlink("rev1", directory.path().join("policies")).unwrap();
    let gate = Gate::start_in(&Setup::to(&upstream), directory);
    fs::create_dir(gate.path("rev2")).unwrap();
    fs::write(gate.path("rev2/permission.rego"), DENY).unwrap();
    symlink("rev2", gate.path("link")).unwrap();
    fs::rename(gate.path("link"), gate.path("policies")).unwrap();
    wait_until("the second revision decides", || is_refused(&gate));
    fs::write(gate.path("rev2/permission.rego"), ALLOW).unwrap();
    wait_until("a change in the second revision decides", || !is_refused(&gate));
}

#[test]
fn what_the_gate_writes_itself_beside_a_lock_is_no_change_of_policy() {
    use notify::{RecursiveMode, Watcher};
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let setup = Setup::to(&upstream).config("pins: ./tools.lock");
    let gate = Gate::start(&setup);
    let (opened, openings) = std::sync::mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| event.kind.is_access()) {
            let _ = opened.send(());
        }
    })
    .unwrap();
    watcher.watch(&gate.path("policies"), RecursiveMode::NonRecursive).unwrap();
    // Trail and log stand beside the lock, and each call writes to both.
    for id in 0..40 {
        gate.post(&call(id, "echo", "{}"));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(openings.try_recv().is_err(), "the policies were read again");
    fs::write(gate.path("tools.lock"), "{").unwrap();
    wait_until("the lock is read", || failed(&gate));
    assert!(openings.try_recv().is_ok(), "this is how a reading looks");
}
