//! Tables that a service hands out: had like any other, cut off by nobody, and of services that don't do as they should a
//! clear error in bounded time.

mod common;

use std::ffi::CStr;
use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::*;
use lock_table::{Fault, Geometry, Mine, Mode, Table, TableError, View, make_sealed, served_at};
use rustix::fs::{CWD, MemfdFlags, OFlags, memfd_create, openat};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Serves as long as it is there; each connection as `act` does.
struct Service(PathBuf, Arc<AtomicBool>);

impl Service {
    fn start(path: &Path, act: impl Fn(UnixStream) + Send + 'static) -> Service {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let told = ends.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if told.load(SeqCst) {
                    return;
                }
                act(stream.unwrap());
            }
        });
        Service(path.to_owned(), ends)
    }

    /// Which gives these numbers.
    fn giving(path: &Path, numbers: Vec<OwnedFd>) -> Service {
        Service::start(path, move |stream| {
            let all: Vec<BorrowedFd> = numbers.iter().map(AsFd::as_fd).collect();
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut with_it = SendAncillaryBuffer::new(&mut room);
            if !all.is_empty() {
                with_it.push(SendAncillaryMessage::ScmRights(&all));
            }
            let bytes = [IoSlice::new(&[0])];
            let _ = sendmsg(&stream, &bytes, &mut with_it, SendFlags::NOSIGNAL);
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.1.store(true, SeqCst);
        let _ = UnixStream::connect(&self.0);
    }
}

fn sealed(path: &CStr) -> OwnedFd {
    make_sealed(path, &Geometry::default()).unwrap()
}

fn try_attach(path: &CStr) -> Result<Table, Box<TableError>> {
    let _held = fork_lock();
    Table::attach(path).map_err(Box::new)
}

fn refused(path: &CStr, why: Fault) {
    let _held = fork_lock();
    let begun = Instant::now();
    let error = Table::attach(path).err().expect("an error");
    assert_eq!(error.fault(), why);
    assert!(begun.elapsed() < Duration::from_secs(4), "{why:?}");
    assert!(!error.to_string().contains('\n'));
}

/// Holding, looking, forking, and asking whether it is still there work as with a file, and nobody can cut it off.
#[test]
fn it_is_a_table_like_any_other() {
    let dir = Dir::new();
    let (at, path) = (dir.0.join("table"), c_path(&dir.0.join("table")));
    let memory = sealed(&path);
    let service = Service::giving(&at, vec![memory.try_clone().unwrap()]);
    let (a, b) = (attach(&path), attach(&path));
    let (of_a, of_b) = (a.take_slot(1).unwrap(), b.take_slot(2).unwrap());
    let claim = claim(Mode::DirectWrite, 0, 4095);
    a.hold_now(of_a, &claim).unwrap();
    assert!(b.hold_now(of_b, &claim).is_err());
    a.release(of_a);
    b.hold(of_b, &claim, &Mine::NONE, None, &mut no()).unwrap();
    b.release(of_b);
    assert!(!a.was_removed());
    let view = View::open(&path).unwrap();
    assert_eq!(view.snapshot().processes.len(), 2);
    let file = File::from(memory.try_clone().unwrap());
    assert!(file.set_len(0).is_err() && file.set_len(1 << 30).is_err());
    assert_eq!(Table::remove(&path).unwrap_err().fault(), Fault::Served);
    // A service that is started anew gives the same, and then another.
    drop(service);
    let service = Service::giving(&at, vec![memory]);
    assert!(!a.was_removed() && !a.was_removed());
    drop(service);
    let _service = Service::giving(&at, vec![sealed(&path)]);
    assert!(a.was_removed());
}

/// The memory is called as the path.
#[test]
fn where_it_is_had_is_seen_in_maps() {
    let dir = Dir::new();
    let (at, path) = (dir.0.join("table"), c_path(&dir.0.join("table")));
    let _service = Service::giving(&at, vec![sealed(&path)]);
    let _table = attach(&path);
    let maps = std::fs::read("/proc/self/maps").unwrap();
    let mut names = maps.split(|byte| *byte == b'\n').filter_map(|line| {
        let from = line.iter().position(|byte| *byte == b'/')?;
        served_at(&line[from..])
    });
    assert!(names.any(|name| name.strip_suffix(b" (deleted)") == Some(path.to_bytes())));
}

#[test]
fn what_is_given_is_looked_at() {
    let dir = Dir::new();
    let (at, path) = (dir.0.join("table"), c_path(&dir.0.join("table")));
    let memory = |flags| memfd_create(c"pagefence:x", flags).unwrap();
    let mut written = File::from(memory(MemfdFlags::CLOEXEC));
    written.write_all(b"no table").unwrap();
    let (pipe, _end) = std::io::pipe().unwrap();
    let cases: Vec<(Vec<OwnedFd>, Fault)> = vec![
        (vec![], Fault::NotServed),
        (vec![memory(MemfdFlags::CLOEXEC)], Fault::NotATable),
        (vec![written.into()], Fault::NotATable),
        (vec![pipe.into()], Fault::NotATable),
        (
            vec![File::open("/dev/null").unwrap().into()],
            Fault::NotATable,
        ),
    ];
    for (given, why) in cases {
        let _service = Service::giving(&at, given);
        refused(&path, why);
    }
    // Of another version, and cut short before it was sealed: as of a file.
    let other = sealed(&path);
    File::from(other.try_clone().unwrap())
        .write_all_at(&[9; 4], 8)
        .unwrap();
    let _service = Service::giving(&at, vec![other]);
    let error = try_attach(&path).err().expect("an error").fault();
    assert!(matches!(error, Fault::OtherVersion { .. }), "{error:?}");
}

/// More numbers than one are closed; a number that can only be opened anew is enough.
#[test]
fn numbers_do_not_pile_up() {
    let dir = Dir::new();
    let (at, path) = (dir.0.join("table"), c_path(&dir.0.join("table")));
    let memory = sealed(&path);
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let only = openat(CWD, link, flags, rustix::fs::Mode::empty()).unwrap();
    let _service = Service::giving(&at, vec![only]);
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    drop(View::open(&path).unwrap());
    let before = open();
    for _ in 0..50 {
        drop(View::open(&path).unwrap());
    }
    // Other tests of this program open and close some.
    assert!(open() < before + 25, "{before} and then {}", open());
}

#[test]
fn services_that_are_not_there_or_silent() {
    let dir = Dir::new();
    let (at, path) = (dir.0.join("table"), c_path(&dir.0.join("table")));
    drop(UnixListener::bind(&at).unwrap());
    let begun = Instant::now();
    refused(&path, Fault::NotServed);
    assert!(
        begun.elapsed() > Duration::from_millis(1900),
        "one that is started anew is waited for"
    );
    let _service = Service::start(&at, |stream| {
        std::thread::spawn(move || (std::thread::sleep(Duration::from_secs(5)), stream));
    });
    refused(&path, Fault::ServiceSilent);
    // One that is late is found.
    std::fs::remove_file(&at).unwrap();
    drop(UnixListener::bind(&at).unwrap());
    let late = at.clone();
    let memory = sealed(&path);
    let starting = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        Service::giving(&late, vec![memory])
    });
    assert!(try_attach(&path).is_ok());
    drop(starting.join());
}
