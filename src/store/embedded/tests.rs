use std::fs;
use std::ops::Bound;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::*;
use crate::store::fixtures::{at, realm, session, sid};

/// A disk that fails, or takes its time, on command.
#[derive(Debug, Default)]
pub(super) struct Disk {
    full: AtomicBool,
    unreadable: AtomicBool,
    syncs: AtomicUsize,
    stopped: Mutex<bool>,
    resumed: Condvar,
}

impl Disk {
    fn stop(&self, stop: bool) {
        *self.stopped.lock().unwrap() = stop;
        self.resumed.notify_all();
    }

    fn write(&self) -> std::io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read(&self) -> std::io::Result<()> {
        if self.unreadable.load(Ordering::SeqCst) { Err(std::io::Error::other("unreadable")) } else { Ok(()) }
    }
}

#[derive(Debug)]
pub(super) struct FailingBackend {
    file: FileBackend,
    disk: Arc<Disk>,
}

impl FailingBackend {
    pub(super) fn new(file: fs::File, disk: &Arc<Disk>) -> Self {
        Self { file: FileBackend::new(file).unwrap(), disk: Arc::clone(disk) }
    }
}

impl StorageBackend for FailingBackend {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.disk.read()?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.disk.write()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        let stopped = self.disk.stopped.lock().unwrap();
        drop(self.disk.resumed.wait_while(stopped, |stopped| *stopped).unwrap());
        self.disk.syncs.fetch_add(1, Ordering::SeqCst);
        self.disk.write()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.disk.write()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn on_disk(path: &Path) -> (EmbeddedStore, Arc<Disk>) {
    drop(EmbeddedStore::open(path).unwrap());
    let disk = Arc::new(Disk::default());
    let store = EmbeddedStore::open_source(Source { disk: Some(Arc::clone(&disk)), ..Source::new(path) }).unwrap();
    (store, disk)
}

/// Tries until it is so. The deadline is far beyond what it takes.
async fn eventually(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not so after 20 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn told(error: &OpenError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn the_file_is_private() {
    let folder = folder();
    let path = folder.path().join("sessions.redb");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    drop(EmbeddedStore::open(&path).unwrap());
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
    drop(EmbeddedStore::open(&path).unwrap());
    assert_eq!(mode(), 0o600, "a file that others could read is closed to them");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left in the folder");
}

#[tokio::test]
async fn errors_name_the_path_and_the_cure() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("text"), "sessions: none\n".repeat(1_000)).unwrap();
    fs::write(at("short"), "x").unwrap();
    let other = redb::Database::create(at("other")).unwrap();
    drop(other);
    let newer = redb::Database::create(at("newer")).unwrap();
    let write = newer.begin_write().unwrap();
    write.open_table(redb::TableDefinition::<&str, u64>::new("meta")).unwrap().insert("format", 2).unwrap();
    write.commit().unwrap();
    drop(newer);
    let _held = EmbeddedStore::open(&at("held")).unwrap();
    for (name, want) in [
        ("missing/sessions", "its folder does not exist; make it"),
        (".", "is not a regular file"),
        ("text", "the file holds something else; move it away"),
        ("short", "the file holds something else; move it away"),
        ("other", "the file holds something else; move it away"),
        ("newer", "written in format 2, this release reads 1; run the release that wrote it"),
        ("held", "in use by another process; stop that one"),
        ("text/sessions", "cannot be used; this user must own the file and be able to write to its folder: Not a dir"),
    ] {
        let error = EmbeddedStore::open(&at(name)).unwrap_err();
        let text = told(&error);
        assert!(text.contains(want) && text.contains(&at(name).display().to_string()), "{name}: {text}");
    }
    assert!(fs::read_to_string(at("text")).unwrap().starts_with("sessions: none"), "what is not ours is not touched");
}

#[tokio::test]
async fn an_empty_or_half_made_file_becomes_a_store() {
    let folder = folder();
    let path = folder.path().join("sessions.redb");
    fs::write(&path, "").unwrap();
    // What a start leaves behind that was killed while it made the file.
    fs::write(folder.path().join("sessions.redb.new"), [0; 5_000]).unwrap();
    let store = EmbeddedStore::open(&path).unwrap();
    store.create(session(1, "ada")).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap();
    assert!(matches!(store.load(&realm("shop"), sid(1)).unwrap(), Loaded::Session(_)));
}

#[tokio::test]
async fn p20_a_full_disk_is_an_error_and_not_a_lie() {
    let folder = folder();
    let (store, disk) = on_disk(&folder.path().join("sessions.redb"));
    let shop = realm("shop");
    store.create(session(1, "ada")).await.unwrap();
    disk.full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(store.revoke(&shop, sid(1)).await, Err(StoreError::Embedded(_))));
        assert!(matches!(store.create(session(2, "ada")).await, Err(StoreError::Embedded(_))));
        // Whether the revocation arrived is unknown, and so is the session.
        assert!(matches!(store.load(&shop, sid(1)), Err(StoreError::Embedded(_))));
        assert!(matches!(store.list(&shop, "ada", 10, None), Err(StoreError::Embedded(_))));
    }
    disk.full.store(false, Ordering::SeqCst);
    eventually(|| store.load(&shop, sid(1)).is_ok()).await;
    store.revoke(&shop, sid(1)).await.unwrap();
    assert!(matches!(store.load(&shop, sid(1)).unwrap(), Loaded::Revoked));
    store.create(session(3, "ada")).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn p20_an_unreadable_disk_is_an_error_until_it_reads_again() {
    let folder = folder();
    let (store, disk) = on_disk(&folder.path().join("sessions.redb"));
    let shop = realm("shop");
    // More than fits into the page that a snapshot holds of each table.
    let creations = (0..100).map(|number| store.create(session(number, "ada")));
    assert!(futures_util::future::join_all(creations).await.iter().all(Result::is_ok));
    disk.unreadable.store(true, Ordering::SeqCst);
    let read = store.load(&shop, sid(1));
    assert!(matches!(read, Err(StoreError::Embedded(_))), "{read:?}");
    disk.unreadable.store(false, Ordering::SeqCst);
    // Nobody writes: the reader's error alone makes the writer open the file again.
    eventually(|| matches!(store.load(&shop, sid(1)), Ok(Loaded::Session(_)))).await;
}

#[tokio::test]
async fn p20_waiting_writes_share_a_commit_and_none_is_answered_before_it() {
    let folder = folder();
    let (store, disk) = on_disk(&folder.path().join("sessions.redb"));
    let store = Arc::new(store);
    disk.stop(true);
    let create = |number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.create(session(number, "ada")).await })
    };
    let before = disk.syncs.load(Ordering::SeqCst);
    let creations: Vec<_> = (0..200).map(create).collect();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(creations.iter().all(|creation| !creation.is_finished()), "answered before it was on the disk");
    assert!(matches!(store.load(&realm("shop"), sid(0)).unwrap(), Loaded::Absent), "nor is it read before");
    disk.stop(false);
    for creation in creations {
        assert!(matches!(creation.await.unwrap().unwrap(), Changed::Done(_)));
    }
    let syncs = disk.syncs.load(Ordering::SeqCst) - before;
    assert!(syncs <= 20, "{syncs} syncs for 200 writes");
}

#[tokio::test]
async fn p32_a_stuck_disk_fills_no_memory_and_hangs_nobody() {
    let folder = folder();
    let (mut store, disk) = on_disk(&folder.path().join("sessions.redb"));
    store.answer_within = Duration::from_millis(500);
    let store = Arc::new(store);
    disk.stop(true);
    let revoke = || {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.revoke(&realm("shop"), sid(1)).await })
    };
    // One transaction is in hand; the queue fills behind it.
    let mut waiting: Vec<_> = (0..EmbeddedStore::QUEUE + 2 * 512).map(|_| revoke()).collect();
    eventually(|| waiting.iter().any(tokio::task::JoinHandle::is_finished)).await;
    let refused = waiting.iter().position(tokio::task::JoinHandle::is_finished).unwrap();
    assert!(matches!(waiting.remove(refused).await.unwrap(), Err(StoreError::Busy)));
    // Reads go on.
    assert!(matches!(store.load(&realm("shop"), sid(1)).unwrap(), Loaded::Absent));
    for write in waiting {
        assert!(matches!(write.await.unwrap(), Err(StoreError::Timeout(_) | StoreError::Busy)));
    }
    disk.stop(false);
    eventually(|| Arc::strong_count(&store) == 1).await;
    // Room again, and the store works.
    let mut done = false;
    while !done {
        done = !matches!(store.create(session(1, "ada")).await, Err(StoreError::Busy));
    }
    assert!(store.revoke(&realm("shop"), sid(1)).await.unwrap());
}

#[tokio::test]
async fn touches_alone_wait_for_no_disk_and_reach_it_soon() {
    let folder = folder();
    let (store, disk) = on_disk(&folder.path().join("sessions.redb"));
    store.create(session(1, "ada")).await.unwrap();
    let before = disk.syncs.load(Ordering::SeqCst);
    for seen in 0..20 {
        store.touch(&realm("shop"), sid(1), at(2_000 + seen)).await.unwrap();
    }
    let Loaded::Session(read) = store.load(&realm("shop"), sid(1)).unwrap() else { panic!("gone") };
    assert_eq!(read.last_seen, at(2_019));
    assert!(disk.syncs.load(Ordering::SeqCst) - before <= 2, "at most one of them was a whole second after the first");
    eventually(|| disk.syncs.load(Ordering::SeqCst) > before).await;
}

#[tokio::test]
async fn closing_writes_everything_and_refuses_the_rest() {
    let folder = folder();
    let path = folder.path().join("sessions.redb");
    let store = EmbeddedStore::open(&path).unwrap();
    store.create(session(1, "ada")).await.unwrap();
    store.touch(&realm("shop"), sid(1), at(7_000)).await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.load(&realm("shop"), sid(1)), Err(StoreError::Closed)));
    assert!(matches!(store.revoke(&realm("shop"), sid(1)).await, Err(StoreError::Closed)));
    store.close().await.unwrap();
    // The file is free while the closed store still stands.
    let again = EmbeddedStore::open(&path).unwrap();
    let Loaded::Session(read) = again.load(&realm("shop"), sid(1)).unwrap() else { panic!("gone") };
    assert_eq!(read.last_seen, at(7_000));
}

#[tokio::test]
async fn a_writer_that_panics_closes_the_store() {
    let folder = folder();
    let store = EmbeddedStore::open(&folder.path().join("sessions.redb")).unwrap();
    store.create(session(1, "ada")).await.unwrap();
    let answer = store.write::<()>(Durable::Now, |_| panic!("on purpose")).await;
    assert!(matches!(answer, Err(StoreError::Closed)), "{answer:?}");
    // Nothing can be revoked any more, so nothing is live any more.
    eventually(|| matches!(store.load(&realm("shop"), sid(1)), Err(StoreError::Closed))).await;
    assert!(matches!(store.revoke(&realm("shop"), sid(1)).await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_sweep_leaves_no_row_behind() {
    let folder = folder();
    let store = EmbeddedStore::open(&folder.path().join("sessions.redb")).unwrap();
    let shop = realm("shop");
    for number in 0..6 {
        store.create(session(number, if number < 3 { "ada" } else { "bob" })).await.unwrap();
    }
    store.touch(&shop, sid(0), at(3_000)).await.unwrap();
    store.revoke(&shop, sid(1)).await.unwrap();
    store.revoke_subject(&shop, "ada").await.unwrap();
    store.revoke_subject(&shop, "ada").await.unwrap();
    store.revoke_subject(&shop, "bob").await.unwrap();
    assert_eq!(store.sweep(at(100_001)).await.unwrap(), 6);
    assert_eq!(store.write(Durable::Now, |tables| tables.rows()).await.unwrap(), [0; 7]);
}
