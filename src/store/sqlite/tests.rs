use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rusqlite::Connection;

use super::*;
use crate::hold::Step;
use crate::store::suite::{self, AMPLE, Shelf, at, held};

struct Directory(tempfile::TempDir);

impl Shelf for Directory {
    type Store = Sqlite;

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Sqlite {
        Sqlite::open(&self.path()).unwrap()
    }
}

impl Directory {
    fn path(&self) -> PathBuf {
        self.0.path().join("state/holds.db")
    }
}

suite::every_store!(Directory);

#[tokio::test]
async fn only_its_owner_can_read_or_write_it() {
    let shelf = Directory::new();
    let store = shelf.open();
    store.insert(held(1, "ada"), None, AMPLE).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(shelf.path().parent().unwrap()), 0o700);
    for end in ["", "-wal", "-shm", ".lock"] {
        let path = format!("{}{end}", shelf.path().display());
        assert_eq!(mode(Path::new(&path)), 0o600, "{path}");
    }
}

#[test]
fn a_second_one_on_the_same_file_is_refused() {
    let shelf = Directory::new();
    let store = shelf.open();
    let fault = Sqlite::open(&shelf.path()).err().unwrap();
    assert!(matches!(fault, StoreFault::InUse(_)), "{fault}");
    assert!(fault.to_string().ends_with(
        "state/holds.db` is in use by another process; each gate needs a state directory of its own"
    ));
    drop(store);
    shelf.open();
}

#[test]
fn a_file_of_a_later_release_is_refused_and_left_alone() {
    let shelf = Directory::new();
    drop(shelf.open());
    let file = Connection::open(shelf.path()).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let before = std::fs::read(shelf.path()).unwrap();
    match Sqlite::open(&shelf.path()) {
        Err(StoreFault::Later { found: 99, known: 1, .. }) => {}
        other => panic!("{:?}", other.err()),
    }
    assert_eq!(std::fs::read(shelf.path()).unwrap(), before);
}

#[test]
fn what_is_no_store_is_refused() {
    let shelf = Directory::new();
    let path = shelf.path();
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "not a database, but long enough to look at".repeat(100)).unwrap();
    assert!(matches!(Sqlite::open(&path), Err(StoreFault::Broken(_))));
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
    assert!(matches!(Sqlite::open(&path), Err(StoreFault::Broken(_))), "no link is followed");
    assert!(matches!(Sqlite::open(Path::new("/")), Err(StoreFault::Broken(_))));
}

/// A page reads the index and the holds it shows, not all holds, and sorts nothing.
#[test]
fn pages_of_one_kind_of_state_come_from_the_index_alone() {
    let shelf = Directory::new();
    drop(shelf.open());
    let file = Connection::open(shelf.path()).unwrap();
    let open = Query { states: vec![State::Pending, State::Approved], ..Query::default() };
    for query in [
        Query { states: vec![State::Pending], ..Query::default() },
        Query { agent: Some("ada".into()), text: Some("x".into()), ..open.clone() },
        Query { newest_first: true, tier: Some(crate::call::Tier::Low), ..open },
        Query { states: vec![State::Done, State::Denied], ..Query::default() },
    ] {
        let (filter, mut values) = lists::conditions(&query);
        values.extend([50.into(), 0.into()]);
        let sql = format!("EXPLAIN QUERY PLAN {}", lists::shown(&filter, query.newest_first));
        let mut plan = file.prepare(&sql).unwrap();
        let plan: Vec<String> = plan
            .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let uses = "SEARCH holds USING COVERING INDEX pages (open=?)";
        assert!(plan.iter().any(|line| line == uses), "{plan:#?}");
        assert!(!plan.iter().any(|line| line == "SCAN holds"), "{plan:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_does_not_spoil_the_others() {
    let shelf = Directory::new();
    let store = Arc::new(shelf.open());
    let first = held(0, "ada");
    store.insert(first.clone(), None, AMPLE).await.unwrap();
    let tasks: Vec<_> = (1..200)
        .map(|number| {
            let mut hold = held(number, "ada");
            if number % 3 == 0 {
                // Nothing makes two such ids but a fault; the file refuses the second.
                hold.id = first.id;
            }
            let store = Arc::clone(&store);
            tokio::spawn(async move { (hold.id, store.insert(hold, None, AMPLE).await) })
        })
        .collect();
    for task in tasks {
        let (id, told) = task.await.unwrap();
        assert_eq!(told.is_err(), id == first.id, "{told:?}");
    }
    assert_eq!(store.open().await.unwrap().len(), 1 + 199 - 66);
    assert_eq!(store.hold(first.id).await, Ok(Some(first)));
}

#[tokio::test]
async fn a_locked_file_refuses_changes_until_it_is_free() {
    let shelf = Directory::new();
    let store = shelf.open();
    let first = held(1, "ada");
    store.insert(first.clone(), None, AMPLE).await.unwrap();
    let other = Connection::open(shelf.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let fault = store.insert(held(2, "ada"), None, AMPLE).await.unwrap_err();
    assert_eq!(fault, StoreFault::Broken("database is locked".into()));
    assert_eq!(store.hold(first.id).await, Ok(Some(first)), "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.insert(held(2, "ada"), None, AMPLE).await, Ok(Inserted::New));
    assert_eq!(store.open().await.unwrap().len(), 2);
}

/// A mounted tmpfs of 256 KiB, unmounted at the end.
struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    fn mount() -> Option<Self> {
        if std::env::var_os("COUNTERSIGN_NO_MOUNT").is_some_and(|value| value == "1") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "none"])
            .arg(dir.path())
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "this test mounts a tmpfs, which takes root; set COUNTERSIGN_NO_MOUNT=1 to leave it out"
        );
        Some(Self(dir))
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_changes_loses_none_and_recovers_without_a_restart() {
    let Some(disk) = TinyDisk::mount() else { return };
    let path = disk.0.path().join("state/holds.db");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 96 * 1024]).unwrap();
    let store = Sqlite::open(&path).unwrap();
    let mut kept = Vec::new();
    let fault = loop {
        let hold = held(kept.len() as u64, "ada");
        match store.insert(hold.clone(), None, AMPLE).await {
            Ok(_) => kept.push(hold),
            Err(fault) => break fault,
        }
    };
    assert!(!kept.is_empty(), "there was room for some");
    assert!(matches!(fault, StoreFault::Broken(_)), "{fault}");
    // Again and again: refused each time, also of those that are there; and they stay.
    let mut refused = 0;
    for hold in &kept {
        let next = hold.after(Step::Cancel, at(99)).unwrap();
        match store.replace(next.clone(), Some(Bytes::from(vec![7; 100_000]))).await {
            Ok(told) => panic!("there is no room for it: {told:?}"),
            Err(StoreFault::Broken(_)) => refused += 1,
            Err(fault) => panic!("{fault}"),
        }
    }
    assert_eq!(refused, kept.len());
    for hold in &kept {
        assert_eq!(store.hold(hold.id).await.unwrap().as_ref(), Some(hold));
    }
    std::fs::remove_file(&ballast).unwrap();
    for next in 0..3 {
        let hold = held(1000 + next, "ada");
        assert_eq!(store.insert(hold.clone(), None, AMPLE).await, Ok(Inserted::New));
        kept.push(hold);
    }
    drop(store);
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.open().await.unwrap().len(), kept.len());
    for hold in kept {
        assert_eq!(store.hold(hold.id).await, Ok(Some(hold)));
    }
}

const CHILD: &str = "COUNTERSIGN_STORE_CHILD";

/// Not a test of its own: the process that the next one kills.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = Arc::new(Sqlite::open(Path::new(&path)).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for agent in ["ada", "bob", "eve"] {
        let store = Arc::clone(&store);
        runtime.spawn(async move {
            loop {
                let mut hold = held(rand_number(), agent);
                assert_eq!(store.insert(hold.clone(), None, AMPLE).await, Ok(Inserted::New));
                println!("\nkept {} {}", hold.id, hold.version);
                for _ in 0..3 {
                    let step = Step::Remind { escalate: Default::default(), due_at: at(9) };
                    hold = hold.after(step, at(8)).unwrap();
                    let told = store.replace(hold.clone(), None).await;
                    assert_eq!(told, Ok(Replaced::Won));
                    println!("\nkept {} {}", hold.id, hold.version);
                }
            }
        });
    }
    std::thread::sleep(std::time::Duration::from_secs(60));
}

fn rand_number() -> u64 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    u64::from(u32::from_le_bytes(bytes))
}

#[test]
fn j04_a_killed_process_loses_nothing_that_it_acknowledged() {
    let shelf = Directory::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut acknowledged: HashMap<HoldId, u64> = HashMap::new();
    for round in 0..30 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sqlite::tests::child_that_writes_until_it_is_killed"])
            .arg("--nocapture")
            .env(CHILD, shelf.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: &str| {
            // The harness says words of its own, and the last line may be cut.
            let mut words = line.split(' ');
            if words.next() == Some("kept")
                && let (Some(Ok(id)), Some(Ok(version))) =
                    (words.next().map(str::parse), words.next().map(str::parse::<u64>))
            {
                let newest = acknowledged.entry(id).or_default();
                *newest = version.max(*newest);
            }
        };
        for line in lines.by_ref().take(20 + (rand_number() % 300) as usize) {
            note(&line.unwrap());
        }
        if round == 0 {
            assert!(matches!(Sqlite::open(&shelf.path()), Err(StoreFault::InUse(_))));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(|line| note(&line));
        let store = shelf.open();
        for (id, version) in &acknowledged {
            let there = runtime.block_on(store.hold(*id)).unwrap();
            let there = there.unwrap_or_else(|| panic!("round {round}: {id} is gone"));
            assert!(there.version >= *version, "round {round}: {id} was set back");
        }
        // Three were at work; each may have been cut short after the file had it.
        let there = runtime.block_on(store.open()).unwrap().len();
        assert!(there <= acknowledged.len() + 3 * (round + 1), "more than were ever made");
    }
    assert!(acknowledged.len() > 100);
}
