use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn small() -> Settings {
    Settings { segment_bytes: 1 << 20, ahead_bytes: 8192, sync_every: Duration::from_secs(3600) }
}

fn body(number: u64) -> Vec<u8> {
    format!(
        r#"{{"v":1,"kind":"test","number":{number},"pad":"{:<1$}"}}"#,
        "",
        (number % 7) as usize
    )
    .into_bytes()
}

/// A trail whose every entry was durable before the next one came.
fn filled(dir: &Path, entries: u64) {
    let trail = Trail::open(dir, small()).unwrap();
    for number in 0..entries {
        let at = trail.append(&body(number)).unwrap();
        wait(trail.durable(at)).unwrap();
    }
}

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn bodies(dir: &Path) -> Vec<Vec<u8>> {
    read(dir).map(|entry| entry.unwrap().body).collect()
}

/// The first bad entry of one segment, at the first look.
fn first_bad(path: &Path) -> u64 {
    let Ok(mut walk) = read::Walk::open(path, 0) else { return 0 };
    loop {
        match walk.step().unwrap() {
            read::Step::Entry(_) => {}
            read::Step::Bad => return walk.index,
            read::Step::End => panic!("no damage seen before entry {}", walk.index),
        }
    }
}

fn segment_one(dir: &Path) -> PathBuf {
    dir.join("000001.trail")
}

#[test]
fn what_is_appended_is_read_in_order_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3);
    let trail = Trail::open(dir.path(), small()).unwrap();
    assert_eq!(trail.cut(), None);
    let (entries, chain) = trail.head();
    assert_eq!(entries, 3);
    assert_eq!(trail.append(&body(3)).unwrap(), Position(3));
    assert_ne!(trail.head().1, chain);
    let mut live = read(dir.path());
    let seen: Vec<_> = live.by_ref().map(|entry| entry.unwrap()).collect();
    assert_eq!(seen.iter().map(|e| e.index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(seen[2].chain, chain);
    assert_eq!(seen[3].body, body(3));
    // The same reader goes on where the trail has grown.
    trail.append(&body(4)).unwrap();
    assert_eq!(live.next().unwrap().unwrap().body, body(4));
    assert!(live.next().is_none());
}

#[test]
fn only_its_owner_can_read_or_write_it() {
    let dir = tempfile::tempdir().unwrap();
    let trail = dir.path().join("state/trail");
    filled(&trail, 1);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&trail), 0o700);
    assert_eq!(mode(&segment_one(&trail)), 0o600);
    assert_eq!(mode(&trail.join("lock")), 0o600);
    std::fs::set_permissions(&trail, Permissions::from_mode(0o777)).unwrap();
    filled(&trail, 1);
    assert_eq!(mode(&trail), 0o755);
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Trail::open(dir.path(), small()).unwrap();
    let again = first.clone();
    drop(first);
    let fault = Trail::open(dir.path(), small()).unwrap_err();
    assert_eq!(fault, TrailFault::Locked(dir.path().into()));
    assert!(fault.to_string().contains("in use by another process"), "{fault}");
    drop(again);
    Trail::open(dir.path(), small()).unwrap();
}

#[test]
fn an_entry_has_a_length_that_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(dir.path(), small()).unwrap();
    for (length, fits) in [(0, false), (1, true), (ENTRY_LIMIT, true), (ENTRY_LIMIT + 1, false)] {
        let result = trail.append(&vec![b'x'; length]);
        assert_eq!(result.is_ok(), fits, "{length}: {result:?}");
    }
    assert_eq!(bodies(dir.path()).len(), 2);
}

#[test]
fn a_segment_that_is_full_is_followed_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { segment_bytes: 1000, ..small() };
    let trail = Trail::open(dir.path(), settings).unwrap();
    for number in 0..50 {
        trail.append(&body(number)).unwrap();
    }
    let numbers = segments(dir.path()).unwrap();
    assert!(numbers.len() > 4, "{numbers:?}");
    for number in &numbers {
        assert!(std::fs::metadata(segment::path(dir.path(), *number)).unwrap().len() <= 1000);
    }
    let head = trail.head();
    drop(trail);
    assert_eq!(bodies(dir.path()), (0..50).map(body).collect::<Vec<_>>());
    assert_eq!(Trail::open(dir.path(), settings).unwrap().head(), head);
    let from = read_from(dir.path(), numbers[2]).next().unwrap().unwrap();
    assert_eq!(from.body, body(from.index));

    // One that is missing, or of another trail, is told.
    let third = segment::path(dir.path(), 3);
    let kept = std::fs::read(&third).unwrap();
    let first_of_third = read_from(dir.path(), 3).next().unwrap().unwrap().index;
    std::fs::remove_file(&third).unwrap();
    let damage = read(dir.path()).find_map(Result::err).unwrap();
    assert_eq!((damage.index, damage.kind), (first_of_third, DamageKind::Missing));
    std::fs::write(&third, {
        let (mut header, _) = Header::decode(&kept).unwrap();
        header.log[0] ^= 1;
        header.encode().0
    })
    .unwrap();
    let damage = read(dir.path()).find_map(Result::err).unwrap();
    assert_eq!((damage.index, damage.kind), (first_of_third, DamageKind::Break));
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 4);
    let path = segment_one(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let last = read(dir.path()).last().unwrap().unwrap();
    let start = last.offset as usize;
    let end = start + FRAME + last.body.len();
    for cut in start..end {
        for zeroes_follow in [false, true] {
            let mut torn = whole.clone();
            if zeroes_follow {
                torn[cut..].fill(0);
            } else {
                torn.truncate(cut);
            }
            std::fs::write(&path, &torn).unwrap();
            // The entry's last bytes may be zeroes themselves only if nothing is missing.
            let read_first = read(dir.path()).find_map(Result::err);
            assert_eq!(read_first.is_some(), cut > start, "at {cut}: {read_first:?}");
            let trail = Trail::open(dir.path(), small()).unwrap();
            let expected =
                (cut > start).then_some(Cut { index: 3, segment: 1, offset: start as u64 });
            assert_eq!(trail.cut(), expected, "at {cut}");
            assert_eq!(trail.append(b"{}").unwrap(), Position(3), "at {cut}");
            assert_eq!(bodies(dir.path()), [body(0), body(1), body(2), b"{}".to_vec()]);
        }
    }
}

#[test]
fn i01_no_byte_changes_without_the_first_bad_entry_being_named() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 50);
    let path = segment_one(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let offsets: Vec<_> = read(dir.path()).map(|entry| entry.unwrap().offset as usize).collect();
    let end = offsets[49] + FRAME + body(49).len();
    for at in 0..end {
        let index = offsets.iter().rposition(|&offset| offset <= at).unwrap_or(0);
        let in_frame = at < HEADER || at - offsets[index] < 12;
        // A bit; where lengths are, all bits and a byte wiped too.
        for bad in [whole[at] ^ 1, !whole[at], 0].into_iter().take(if in_frame { 3 } else { 1 }) {
            if bad == whole[at] {
                continue;
            }
            let file = File::options().write(true).open(&path).unwrap();
            file.write_at(&[bad], at as u64).unwrap();
            assert_eq!(first_bad(&path), index as u64, "byte {at}");
            file.write_at(&whole[at..=at], at as u64).unwrap();
            // The slower ways to the same answer.
            if at % 23 != 0 {
                continue;
            }
            let mut bytes = whole.clone();
            bytes[at] = bad;
            std::fs::write(&path, &bytes).unwrap();
            let damage = read(dir.path()).find_map(Result::err).unwrap();
            assert_eq!(damage.index, index as u64, "byte {at}: {damage}");
            let opened = Trail::open(dir.path(), small());
            if index < 49 {
                // An entry that was durable is never cut off.
                assert!(matches!(opened, Err(TrailFault::Damaged(_))), "byte {at}: {opened:?}");
                assert_eq!(std::fs::read(&path).unwrap(), bytes, "left alone");
            } else {
                assert_eq!(opened.unwrap().cut().map(|cut| cut.index), Some(49), "byte {at}");
            }
            std::fs::write(&path, &whole).unwrap();
        }
    }
}

#[test]
fn i01_entries_deleted_swapped_doubled_or_inserted_are_named() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 20);
    let path = segment_one(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let mut starts: Vec<_> = read(dir.path()).map(|e| e.unwrap().offset as usize).collect();
    starts.push(starts[19] + FRAME + body(19).len());
    let entry = |index: usize| whole[starts[index]..starts[index + 1]].to_vec();
    let built = |order: &[usize]| {
        let mut bytes = whole[..HEADER].to_vec();
        order.iter().for_each(|&index| bytes.extend(entry(index)));
        bytes.resize(whole.len() + 4096, 0);
        bytes
    };
    let all: Vec<usize> = (0..20).collect();
    let with = |change: &dyn Fn(&mut Vec<usize>)| {
        let mut order = all.clone();
        change(&mut order);
        built(&order)
    };
    for (name, bytes, first_bad) in [
        (
            "deleted",
            with(&|o| {
                o.remove(5);
            }),
            5,
        ),
        (
            "first deleted",
            with(&|o| {
                o.remove(0);
            }),
            0,
        ),
        ("swapped", with(&|o| o.swap(7, 8)), 7),
        ("doubled", with(&|o| o.insert(10, 9)), 10),
        ("inserted", with(&|o| o.insert(3, 12)), 3),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let damage = read(dir.path()).find_map(Result::err).unwrap();
        assert_eq!((damage.index, &damage.kind), (first_bad, &DamageKind::Changed), "{name}");
        let fault = Trail::open(dir.path(), small()).unwrap_err();
        assert!(fault.to_string().contains(&format!("entry {first_bad} ")), "{name}: {fault}");
    }
}

#[test]
fn unsynced_pages_lost_out_of_order_are_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(dir.path(), small()).unwrap();
    for number in 0..10 {
        let at = trail.append(&body(number)).unwrap();
        if number == 4 {
            wait(trail.durable(at)).unwrap();
        }
    }
    let path = segment_one(dir.path());
    let bytes = std::fs::read(&path).unwrap();
    drop(trail);
    let offsets: Vec<_> = read(dir.path()).map(|e| e.unwrap().offset as usize).collect();
    for (lost, survives) in [(4, None), (5, Some(5)), (7, Some(7)), (9, Some(9))] {
        let mut bytes = bytes.clone();
        bytes[offsets[lost]..offsets[lost] + 50].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        match (Trail::open(dir.path(), small()), survives) {
            (Ok(trail), Some(entries)) => assert_eq!(trail.head().0, entries, "{lost}"),
            (Err(TrailFault::Damaged(damage)), None) => assert_eq!(damage.index, 4),
            (other, _) => panic!("{lost}: {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bodies_in_any_segments_come_back_as_they_went_in(
        bodies_in in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..40),
        segment_bytes in 200_u64..4000,
        reopen in 0_usize..40,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { segment_bytes, ahead_bytes: 512, ..small() };
        let mut trail = Trail::open(dir.path(), settings).unwrap();
        for (number, body) in bodies_in.iter().enumerate() {
            if number == reopen {
                drop(trail);
                trail = Trail::open(dir.path(), settings).unwrap();
            }
            prop_assert_eq!(trail.append(body).unwrap(), Position(number as u64));
        }
        prop_assert_eq!(bodies(dir.path()), bodies_in);
    }

    #[test]
    fn whatever_the_file_holds_nothing_panics(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 2);
        let path = segment_one(dir.path());
        let mut bytes = std::fs::read(&path).unwrap();
        let end = HEADER + 2 * FRAME + body(0).len() + body(1).len();
        bytes.truncate(end);
        bytes.extend(noise);
        std::fs::write(&path, bytes).unwrap();
        prop_assert_eq!(read(dir.path()).take_while(Result::is_ok).count(), 2);
        prop_assert_eq!(Trail::open(dir.path(), small()).unwrap().head().0, 2);
    }
}

#[test]
fn sixty_four_threads_append_and_each_learns_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { segment_bytes: 64 * 1024, ..small() };
    let trail = Trail::open(dir.path(), settings).unwrap();
    let positions: Vec<Vec<Position>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64_u64)
            .map(|thread| {
                let trail = trail.clone();
                scope.spawn(move || {
                    let one = |number| {
                        let at = trail.append(&body(thread * 100 + number)).unwrap();
                        wait(trail.durable(at)).unwrap();
                        assert!(trail.shared.synced.load(Ordering::Acquire) > at.0);
                        at
                    };
                    (0..20).map(one).collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let written = bodies(dir.path());
    assert_eq!(written.len(), 64 * 20);
    for (thread, positions) in positions.iter().enumerate() {
        for (number, at) in positions.iter().enumerate() {
            assert_eq!(written[at.0 as usize], body((thread * 100 + number) as u64));
        }
    }
}

#[test]
fn a_reader_beside_a_writer_sees_only_whole_entries() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { segment_bytes: 32 * 1024, ..small() };
    let trail = Trail::open(dir.path(), settings).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..3000 {
                trail.append(&body(number)).unwrap();
            }
        });
        let mut entries = read(dir.path());
        let mut next = 0;
        while next < 3000 {
            match entries.next() {
                Some(entry) => {
                    assert_eq!(entry.unwrap().body, body(next));
                    next += 1;
                }
                None => std::thread::yield_now(),
            }
        }
    });
}

#[test]
fn nobody_waits_for_what_is_durable_already_and_closing_syncs_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(dir.path(), small()).unwrap();
    let first = trail.append(&body(0)).unwrap();
    let second = trail.append(&body(1)).unwrap();
    wait(trail.durable(second)).unwrap();
    assert!(trail.shared.enlist(first).unwrap().is_none());
    let third = trail.append(&body(2)).unwrap();
    let shared = Arc::clone(&trail.shared);
    assert_eq!(shared.synced.load(Ordering::Acquire), 2);
    drop(trail);
    assert_eq!(shared.synced.load(Ordering::Acquire), 3);
    assert!(shared.enlist(third).unwrap().is_none());
    assert!(matches!(shared.enlist(Position(3)), Err(TrailFault::Failed(_))));
}

#[test]
fn after_a_failed_sync_nothing_is_durable_and_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(dir.path(), small()).unwrap();
    let before = trail.append(&body(0)).unwrap();
    let cause = TrailFault::io("sync", dir.path(), &io::Error::from_raw_os_error(libc::EIO));
    trail.shared.fail(&cause);
    for fault in [
        trail.append(&body(1)).unwrap_err(),
        wait(trail.durable(before)).unwrap_err(),
        trail.fault().unwrap().clone(),
    ] {
        assert!(matches!(fault, TrailFault::Failed(_)), "{fault}");
        assert!(fault.to_string().contains("until a restart"), "{fault}");
    }
    drop(trail);
    assert_eq!(Trail::open(dir.path(), small()).unwrap().head().0, 1);
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

#[test]
fn i05_a_full_disk_refuses_entries_and_recovers_without_a_restart() {
    let Some(disk) = TinyDisk::mount() else { return };
    let dir = disk.0.path().join("trail");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 64 * 1024]).unwrap();
    let trail = Trail::open(&dir, Settings::default()).unwrap();
    let entry = vec![b'x'; 700];
    let mut taken = 0;
    let fault = loop {
        match trail.append(&entry) {
            Ok(at) => {
                wait(trail.durable(at)).unwrap();
                taken += 1;
            }
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault, TrailFault::Full(segment_one(&dir)));
    assert!(fault.is_passing() && trail.fault().is_none());
    assert!(taken > 200, "all the room there is gets used: {taken}");
    // Again and again: refused each time, and nothing torn.
    for _ in 0..10 {
        assert!(trail.append(&entry).is_err());
    }
    assert_eq!(bodies(&dir).len(), taken);
    std::fs::remove_file(&ballast).unwrap();
    let at = trail.append(&entry).unwrap();
    assert_eq!(at, Position(taken as u64));
    wait(trail.durable(at)).unwrap();
    drop(trail);
    assert_eq!(Trail::open(&dir, Settings::default()).unwrap().head().0, taken as u64 + 1);
}

#[test]
fn i05_a_full_disk_at_the_end_of_a_segment_recovers_too() {
    let Some(disk) = TinyDisk::mount() else { return };
    let dir = disk.0.path().join("trail");
    let settings = Settings { segment_bytes: 32 * 1024, ..small() };
    let trail = Trail::open(&dir, settings).unwrap();
    while trail.head().0 < 40 {
        trail.append(&[b'x'; 700]).unwrap();
    }
    let ballast = disk.0.path().join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[1; 1024]).is_ok() {}
    let fault = loop {
        if let Err(fault) = trail.append(&[b'x'; 700]) {
            break fault;
        }
    };
    assert!(matches!(fault, TrailFault::Full(_)), "{fault}");
    let before = trail.head();
    std::fs::remove_file(&ballast).unwrap();
    drop(file);
    for _ in 0..40 {
        trail.append(&[b'x'; 700]).unwrap();
    }
    assert_eq!(trail.head().0, before.0 + 40);
    assert_eq!(bodies(&dir).len() as u64, before.0 + 40);
    assert!(segments(&dir).unwrap().len() > 1);
}

const CHILD: &str = "COUNTERSIGN_TRAIL_CHILD";

/// Not a test of its own: the process that the next one kills.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let trail =
        Trail::open(Path::new(&dir), Settings { segment_bytes: 100_000, ..small() }).unwrap();
    for number in trail.head().0.. {
        let at = trail.append(&body(number)).unwrap();
        if number % 3 == 0 {
            wait(trail.durable(at)).unwrap();
            println!("durable {number}");
        } else {
            println!("written {number}");
        }
    }
}

#[test]
fn j04_a_killed_process_loses_nothing_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "trail::tests::child_that_appends_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        let mut note = |line: &str| {
            // The harness puts its own words before the first one.
            if let Some((_, number)) = line.rsplit_once("durable ").or(line.rsplit_once("written "))
                && let Ok(number) = number.parse::<u64>()
            {
                acknowledged = number + 1;
            }
        };
        for line in lines.by_ref().take(50 + round * 37) {
            note(&line.unwrap());
        }
        if round == 0 {
            assert!(matches!(Trail::open(dir.path(), small()), Err(TrailFault::Locked(_))));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // All but the last line, which may be cut itself, is an acknowledgement.
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        rest.iter().take(rest.len().saturating_sub(1)).for_each(|line| note(line));
        let trail = Trail::open(dir.path(), small()).unwrap();
        assert!(acknowledged > 0 && trail.head().0 >= acknowledged, "round {round}");
        assert!(trail.head().0 <= acknowledged + 3, "none that was never asked for");
        for (number, entry) in read(dir.path()).enumerate() {
            assert_eq!(entry.unwrap().body, body(number as u64));
        }
    }
}
