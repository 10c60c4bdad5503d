//! The log under faults of its disk, crashes and meddling.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::disk::{self, LogFile, Make};
use super::verify::{Damage, verify};
use super::*;

const ROTATE: u64 = 256 << 20;

/// A folder of the test's own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("caliber-audit-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn settings(&self, rotate_bytes: u64) -> AuditSettings {
        AuditSettings {
            path: self.path(),
            rotate_bytes,
        }
    }

    fn path(&self) -> PathBuf {
        self.0.join("log/audit.jsonl")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(folder: &Folder) -> Arc<AuditLog> {
    AuditLog::open(&folder.settings(ROTATE), "test").unwrap()
}

async fn call(log: &AuditLog, what: &str) -> Result<(), String> {
    log.call(Call::Metadata, what, "anna", None).await
}

/// Writes `count` records and closes.
async fn written(folder: &Folder, count: usize) {
    let log = open(folder);
    for number in 0..count {
        call(&log, &format!("call {number}")).await.unwrap();
    }
}

fn damage(folder: &Folder) -> Option<(u64, Damage)> {
    let report = verify(&folder.path()).unwrap();
    report.broken.map(|broken| (broken.line, broken.damage))
}

#[tokio::test]
async fn the_chain_goes_on_over_restarts_and_rotations() {
    let folder = Folder::new("rotation");
    for _ in 0..3 {
        let log = AuditLog::open(&folder.settings(2_000), "test").unwrap();
        for number in 0..20 {
            call(&log, &format!("call {number}")).await.unwrap();
        }
    }
    let report = verify(&folder.path()).unwrap();
    assert!(report.broken.is_none(), "{:?}", report.broken);
    assert!(report.files > 3, "{}", report.files);
    // Each file opens with a record of its own; each run starts and stops.
    assert_eq!(report.records, report.files as u64 + 3 * 22);
    let records = newest(&folder.path(), 10_000).unwrap();
    assert_eq!(records.len() as u64, report.records);
    let numbers: Vec<u64> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=report.records).collect::<Vec<_>>());
    assert_eq!(newest(&folder.path(), 7).unwrap(), records[records.len() - 7..]);
    // The oldest file may be put away, the next may not be missing.
    let files = files::rotated(&folder.path()).unwrap();
    fs::remove_file(&files[0].1).unwrap();
    assert!(verify(&folder.path()).unwrap().broken.is_none());
    assert!(verify(&folder.path()).unwrap().before.is_some());
    fs::remove_file(&files[2].1).unwrap();
    assert!(
        matches!(damage(&folder), Some((1, Damage::Removed(..)))),
        "{:?}",
        damage(&folder)
    );
}

#[tokio::test]
async fn verify_names_the_first_broken_line_and_what_was_done() {
    let folder = Folder::new("verify");
    written(&folder, 10).await;
    let whole = folder.text();
    let lines: Vec<&str> = whole.lines().collect();
    let check = |lines: &[&str], wanted: Option<(u64, Damage)>| {
        fs::write(
            folder.path(),
            lines.iter().map(|line| format!("{line}\n")).collect::<String>(),
        )
        .unwrap();
        assert_eq!(damage(&folder), wanted);
    };
    check(&lines, None);
    let changed = lines[5].replace("call 3", "call 4");
    assert_ne!(changed, lines[5]);
    let mut edited = lines.clone();
    edited[5] = &changed;
    check(&edited, Some((6, Damage::Changed)));
    // With its hash made anew, the record after it tells.
    let (content, _) = changed.split_once(r#","hash":"#).unwrap();
    let forged = format!(r#"{content},"hash":"{}"}}"#, chain::hash_of(content.as_bytes()));
    edited[5] = &forged;
    check(&edited, Some((7, Damage::Replaced)));
    let mut removed = lines.clone();
    removed.drain(4..6);
    check(&removed, Some((5, Damage::Removed(5, 6))));
    let mut reordered = lines.clone();
    reordered.swap(3, 8);
    check(&reordered, Some((4, Damage::Reordered)));
    check(&lines[1..], Some((1, Damage::Removed(1, 1))));
    fs::write(folder.path(), &whole[..whole.len() - 20]).unwrap();
    assert_eq!(damage(&folder), Some((lines.len() as u64, Damage::Truncated)));
}

#[tokio::test]
async fn a_torn_last_line_is_cut_at_the_next_start_and_said_so() {
    let folder = Folder::new("torn");
    written(&folder, 3).await;
    let whole = folder.text();
    for torn in [&b"{\"seq\":7,\"ti"[..], &b"\0\0\0\0"[..], &b"{\"seq\":7}\0\0\n\0"[..]] {
        let mut bytes = folder.text().into_bytes();
        bytes.extend_from_slice(torn);
        fs::write(folder.path(), bytes).unwrap();
        drop(open(&folder));
        assert_eq!(damage(&folder), None);
        assert!(folder.text().starts_with(&whole));
        let recovered = newest(&folder.path(), 3).unwrap();
        assert_eq!(recovered[0]["kind"], "recovered", "{recovered:?}");
        assert_eq!(recovered[0]["cut_bytes"], torn.len());
    }
    // A whole line that was meddled with stays where it is, as evidence.
    let text = folder.text();
    let last = text.lines().count() as u64;
    fs::write(folder.path(), text.replace("\"server_stop\"", "\"server_stob\"")).unwrap();
    let first_changed = text.lines().position(|line| line.contains("server_stop")).unwrap() as u64 + 1;
    drop(open(&folder));
    assert_eq!(damage(&folder), Some((first_changed, Damage::Changed)));
    assert!(folder.text().lines().count() as u64 > last);
}

#[tokio::test]
async fn one_server_has_the_log_and_another_s_file_is_left_alone() {
    let folder = Folder::new("lock");
    let log = open(&folder);
    let refused = AuditLog::open(&folder.settings(ROTATE), "test").unwrap_err();
    assert_eq!(refused.code, Code::SRV005);
    assert!(
        refused.message.contains("held by another server"),
        "{}",
        refused.message
    );
    drop(log);
    drop(open(&folder));
    fs::write(folder.path(), "something else\n").unwrap();
    let refused = AuditLog::open(&folder.settings(ROTATE), "test").unwrap_err();
    assert!(refused.message.contains("not an audit log"), "{}", refused.message);
    assert_eq!(folder.text(), "something else\n");
}

#[cfg(unix)]
#[tokio::test]
async fn log_and_key_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("modes");
    written(&folder, 1).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.path().parent().unwrap()), 0o700);
    assert_eq!(mode(&folder.path()), 0o600);
    assert_eq!(mode(&files::beside(&folder.path(), "key")), 0o600);
}

#[tokio::test]
async fn a_log_that_is_removed_refuses_nothing_for_long_and_the_gap_shows() {
    let folder = Folder::new("removed");
    let log = open(&folder);
    call(&log, "before").await.unwrap();
    fs::remove_dir_all(folder.path().parent().unwrap()).unwrap();
    // Writing to the removed file would succeed, and be lost.
    call(&log, "after").await.unwrap();
    assert!(folder.text().contains("after"));
    assert!(
        matches!(damage(&folder), Some((1, Damage::Removed(1, _)))),
        "{:?}",
        damage(&folder)
    );
    // A file that is not ours is neither written nor cut.
    fs::write(folder.path(), "something else\n").unwrap();
    assert!(call(&log, "refused").await.is_err());
    assert_eq!(folder.text(), "something else\n");
    fs::remove_file(folder.path()).unwrap();
    until(|| log.usable().is_ok());
    call(&log, "again").await.unwrap();
}

/// Waits for what another thread brings about.
fn until(mut happened: impl FnMut() -> bool) {
    let asked = Instant::now();
    while !happened() {
        assert!(asked.elapsed() < Duration::from_secs(10), "it did not happen");
        std::thread::yield_now();
    }
}

/// A disk that fails or stands still as told. One test has it at a time.
struct Faults {
    full: AtomicBool,
    /// How many syncs were asked for, and may return.
    syncs: AtomicUsize,
    gate: Mutex<bool>,
    opened: Condvar,
    in_use: Mutex<()>,
}

static FAULTS: Faults = Faults {
    full: AtomicBool::new(false),
    syncs: AtomicUsize::new(0),
    gate: Mutex::new(true),
    opened: Condvar::new(),
    in_use: Mutex::new(()),
};

struct Faulty(Box<dyn LogFile>);

fn faulty(path: &Path, make: Make) -> io::Result<Box<dyn LogFile>> {
    Ok(Box::new(Faulty(disk::open(path, make)?)))
}

impl LogFile for Faulty {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if FAULTS.full.load(Ordering::SeqCst) {
            // As a full disk does: a part is written.
            self.0.append(&bytes[..bytes.len() / 2])?;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.0.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        FAULTS.syncs.fetch_add(1, Ordering::SeqCst);
        let mut open = FAULTS.gate.lock();
        while !*open {
            FAULTS.opened.wait(&mut open);
        }
        self.0.sync()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn is_at(&self, path: &Path, len: u64) -> io::Result<bool> {
        self.0.is_at(path, len)
    }
}

/// Opens the gate again however the test ends: the next one waits for the disk.
struct Reopened;

impl Drop for Reopened {
    fn drop(&mut self) {
        shut(false);
    }
}

/// The shortest of some calls that are refused: on a busy machine one may have to wait for its turn.
fn refused_within(runtime: &tokio::runtime::Runtime, log: &AuditLog) -> Duration {
    let calls = (0..10).map(|_| {
        let asked = Instant::now();
        assert!(runtime.block_on(call(log, "refused")).is_err());
        asked.elapsed()
    });
    calls.min().unwrap()
}

fn shut(gate: bool) {
    *FAULTS.gate.lock() = !gate;
    FAULTS.opened.notify_all();
}

fn start(query_id: &str) -> AuditStart {
    AuditStart {
        query_id: query_id.to_owned(),
        caller: caliber_engine::AuditCaller {
            principal: "anna".to_owned(),
            roles: vec!["analyst".to_owned()],
            attributes: Vec::new(),
            origin: caliber_engine::Origin::default(),
        },
        statement: caliber_engine::StatementText::new("SELECT 'secret' AS a"),
        tables: Vec::new(),
        columns: Vec::new(),
        masked: Vec::new(),
        policies: Vec::new(),
        sources: Vec::new(),
        snapshot: "v".to_owned(),
    }
}

fn end(query_id: &str) -> AuditEnd {
    AuditEnd {
        query_id: query_id.to_owned(),
        rows: 1,
        bytes: 1,
        elapsed: Duration::from_millis(1),
        sources: Vec::new(),
        outcome: Ok(()),
    }
}

#[test]
fn nobody_is_answered_before_the_sync_returned_and_all_who_wait_share_one() {
    let _mine = FAULTS.in_use.lock();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = Folder::new("sync");
    let log = AuditLog::open_with(&folder.settings(ROTATE), "test", faulty).unwrap();
    shut(true);
    let before = FAULTS.syncs.load(Ordering::SeqCst);
    let answered = Arc::new(AtomicUsize::new(0));
    let ask = |number: usize| {
        let (log, answered) = (log.clone(), answered.clone());
        runtime.spawn(async move {
            log.started(start(&format!("q{number}"))).await.unwrap();
            answered.fetch_add(1, Ordering::SeqCst);
        })
    };
    let mut waiting = vec![ask(0)];
    until(|| FAULTS.syncs.load(Ordering::SeqCst) == before + 1);
    waiting.extend((1..100).map(ask));
    until(|| log.queue.waiting() == 99);
    // The first record is in the file already; nobody was told.
    assert!(folder.text().contains("\"q0\""));
    assert_eq!(answered.load(Ordering::SeqCst), 0);
    shut(false);
    runtime.block_on(async {
        for one in waiting {
            one.await.unwrap();
        }
    });
    assert_eq!(answered.load(Ordering::SeqCst), 100);
    assert_eq!(FAULTS.syncs.load(Ordering::SeqCst), before + 2);
    assert!(!folder.text().contains("secret"));
}

#[test]
fn a_full_disk_refuses_at_once_leaves_no_half_record_and_is_noticed_when_it_has_room() {
    let _mine = FAULTS.in_use.lock();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = Folder::new("full");
    let log = AuditLog::open_with(&folder.settings(ROTATE), "test", faulty).unwrap();
    runtime.block_on(log.started(start("open"))).unwrap();
    let before = folder.text();
    FAULTS.full.store(true, Ordering::SeqCst);
    assert!(runtime.block_on(log.started(start("refused"))).is_err());
    assert!(log.usable().is_err());
    // The rows of this one had left before; its end waits.
    log.ended(end("open"));
    log.ended(end("refused"));
    assert!(refused_within(&runtime, &log) < Duration::from_millis(100));
    FAULTS.full.store(false, Ordering::SeqCst);
    until(|| log.usable().is_ok());
    runtime.block_on(log.started(start("again"))).unwrap();
    let text = folder.text();
    assert!(
        text.starts_with(&before) && !text.contains("\"refused\",\"call\""),
        "{text}"
    );
    assert!(
        text.contains("\"kind\":\"resumed\"") && text.contains("\"failed_ms\""),
        "{text}"
    );
    let ends: Vec<Value> = newest(&folder.path(), 100).unwrap();
    let ends: Vec<&str> = ends
        .iter()
        .filter(|record| record["kind"] == "end")
        .filter_map(|record| record["query_id"].as_str())
        .collect();
    assert_eq!(ends, ["open"]);
    assert_eq!(damage(&folder), None);
}

#[test]
fn a_disk_that_stands_still_is_waited_for_no_longer_than_the_bound() {
    let _mine = FAULTS.in_use.lock();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = Folder::new("stall");
    let log = AuditLog::open_with(&folder.settings(ROTATE), "test", faulty).unwrap();
    let _reopened = Reopened;
    shut(true);
    let asked = Instant::now();
    assert!(runtime.block_on(log.started(start("late"))).is_err());
    assert!(asked.elapsed() >= STALL_MAX && asked.elapsed() < STALL_MAX + Duration::from_secs(10));
    log.ended(end("late"));
    assert!(refused_within(&runtime, &log) < Duration::from_millis(100));
    shut(false);
    until(|| log.usable().is_ok());
    runtime.block_on(call(&log, "again")).unwrap();
    drop(log);
    // The start became durable after all, and has its end.
    let report = verify(&folder.path()).unwrap();
    assert!(report.broken.is_none());
    assert_eq!((report.statements, report.running + report.unfinished), (1, 0));
}
