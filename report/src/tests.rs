//! A folder of rings, read as a whole and as it grows.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tempfile::TempDir;
use trace::{Kind, Other, Record, Ring, Shape, Text, Wrong};

use crate::{Disorder, Event, Folder, InOrder};

const SHAPE: Shape = Shape {
    files: 16,
    index: 64,
    text_words: 512,
    records: 16,
};

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn ring(dir: &TempDir, process: u32) -> Ring {
    Ring::make(
        &c_path(dir.path()),
        (process, b"a\"b\xff"),
        SHAPE,
        &trace::Alone,
    )
    .unwrap()
}

fn write(ring: Ring, time: u64, kind: Kind) {
    ring.write(&Record {
        time,
        process: 5,
        thread: 6,
        kind,
        file: Some((7, 8)),
        path: ring.text(b"/a\n\"\\/\xe9"),
        range: Some((4096, u64::MAX)),
        mode: ring.text(b"direct_read"),
        other: Some(Other {
            process: 9,
            program: *b"someone's\0xxxxxx",
            mode: ring.text(b"mapped"),
        }),
        reason: Text::NONE,
        done: ring.text(b"done"),
        hint: Text::NONE,
        nanoseconds: Some(1),
        call: None,
        contents: None,
    });
}

/// In the trace's order: what each says when it was, after the first.
fn in_order(dir: &TempDir, room: usize) -> (Vec<(u64, u64)>, Disorder) {
    let mut folder = Folder::open(dir.path()).unwrap();
    let rings = folder.one_by_one();
    let mut order = InOrder::default();
    for ring in &rings {
        order.begin_ring();
        folder.each_of(ring, |event| order.add(&event));
    }
    let mut told = Vec::new();
    let each = |event: &Event| {
        told.push((event.told.record.time, event.told.number));
        Ok::<(), ()>(())
    };
    let disorder = order.tell_within(room, &mut folder, &rings, each).unwrap();
    assert_eq!(folder.take_problems().len(), 0);
    (told, disorder)
}

const LONG: Shape = Shape {
    records: 2000,
    ..SHAPE
};

fn long_ring(dir: &TempDir, process: u32) -> Ring {
    let owner = (process, &b"program"[..]);
    Ring::make(&c_path(dir.path()), owner, LONG, &trace::Alone).unwrap()
}

#[test]
fn rings_that_take_turns_are_told_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (long_ring(&dir, 1), long_ring(&dir, 2));
    for n in 0..1500 {
        write(a, 10 * n, Kind::Wait);
        write(b, 10 * n + if n < 700 { 3 } else { 0 }, Kind::Wait);
        // A call that took long, with the time at which it began.
        if n % 500 == 499 {
            write(b, 10 * (n - 400), Kind::Call);
        }
    }
    let (told, disorder) = in_order(&dir, usize::MAX);
    assert_eq!((told.len(), disorder), (3003, Disorder::default()));
    assert!(told.is_sorted_by_key(|(time, _)| *time));
    let mut all = Folder::open(dir.path()).unwrap().read(true);
    let times: Vec<_> = all.drain(..).map(|e| e.told.record.time).collect();
    assert_eq!(told.iter().map(|one| one.0).collect::<Vec<_>>(), times);
}

/// As one that means harm may be: the later an event was, the earlier it stands.
#[test]
fn what_is_in_no_order_is_told_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let a = long_ring(&dir, 1);
    (0..1500).for_each(|n| write(a, 100_000 - n, Kind::Wait));
    let (told, disorder) = in_order(&dir, usize::MAX);
    assert!(told.is_sorted() && disorder == Disorder::default());
    for room in [0, 1, 10_000] {
        let (mut told, disorder) = in_order(&dir, room);
        assert!(told.len() == 1500 && disorder.gone == 0);
        let is_late = |told: &[(u64, u64)]| {
            let mut last = 0;
            let late = |one: &&(u64, u64)| {
                let is_late = one.0 < last;
                last = last.max(one.0);
                is_late
            };
            told.iter().filter(late).count() as u64
        };
        // The parts themselves are read in the order of time.
        assert_eq!(disorder.late, is_late(&told));
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), 1500);
    }
}

#[test]
fn what_is_overwritten_meanwhile_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let a = long_ring(&dir, 1);
    (0..2000).for_each(|n| write(a, n, Kind::Wait));
    let mut folder = Folder::open(dir.path()).unwrap();
    let rings = folder.one_by_one();
    let mut order = InOrder::default();
    order.begin_ring();
    folder.each_of(&rings[0], |event| order.add(&event));
    (0..300).for_each(|n| write(a, 5000 + n, Kind::Wait));
    let mut told = 0;
    let each = |_: &Event| {
        told += 1;
        Ok::<(), ()>(())
    };
    let disorder = order.tell(&mut folder, &rings, each).unwrap();
    assert_eq!((told, disorder.gone, disorder.late), (1700, 300, 0));
}

#[test]
fn a_line_of_json_has_what_there_is_in_this_order() {
    let dir = tempfile::tempdir().unwrap();
    write(ring(&dir, 5), 0, Kind::Wait);
    let mut folder = Folder::open(dir.path()).unwrap();
    let events = folder.read(true);
    let line = events[0].json();
    let (time, rest) = line.split_once(',').unwrap();
    let time = time.strip_prefix("{\"time\":").unwrap();
    assert_eq!(time.split_once('.').unwrap().1.len(), 9);
    assert_eq!(
        rest,
        r#""event":"wait","process":5,"thread":6,"program":"a\"b\\xff","file":"/a\\x0a\"\\/\\xe9","dev":7,"ino":8,"first":4096,"last":18446744073709551615,"mode":"direct_read","other_process":9,"other_program":"someone's","other_mode":"mapped","done":"done","nanoseconds":1}"#
    );
    let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(parsed["file"], "/a\\x0a\"\\/\\xe9");
}

#[test]
fn what_several_tell_is_merged_by_time_as_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(dir.path()).unwrap();
    assert_eq!((folder.read(false).len(), folder.rings()), (0, 0));
    let (a, b) = (ring(&dir, 1), ring(&dir, 2));
    let times = |folder: &mut Folder, last| {
        let events = folder.read(last);
        let times = events.iter().map(|e| e.told.record.time);
        times.collect::<Vec<_>>()
    };
    write(a, 10, Kind::Wait);
    write(b, 20, Kind::Wait);
    write(a, 30, Kind::Wait);
    assert_eq!(times(&mut folder, false), [10, 20, 30]);
    write(b, 50, Kind::Wait);
    write(a, 40, Kind::Wait);
    let c = ring(&dir, 3);
    write(c, 45, Kind::Wait);
    assert_eq!(times(&mut folder, false), [40, 45, 50]);
    assert_eq!(times(&mut folder, true), [0; 0]);
    assert_eq!(folder.rings(), 3);
}

/// Each is told with a reason, and what can be read is read.
/// More rings than a process may have descriptors.
#[test]
fn what_is_read_to_its_end_keeps_no_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    for process in 1..20 {
        write(ring(&dir, process), 10, Kind::Wait);
    }
    let inside = c_path(dir.path()).into_bytes();
    let open = || {
        let numbers = fs::read_dir("/proc/self/fd").unwrap();
        let paths = numbers.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        paths
            .filter(|path| path.as_os_str().as_bytes().starts_with(&inside))
            .count()
    };
    let mut folder = Folder::open(dir.path()).unwrap();
    assert_eq!(
        (folder.read(true).len(), folder.rings(), open()),
        (19, 19, 0)
    );
    assert_eq!(folder.read(true).len(), 0);
}

#[test]
fn what_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write(ring(&dir, 1), 10, Kind::Wait);
    let name = |name: &str| dir.path().join(name);
    fs::write(name("random.ring"), [0x5a; 9000]).unwrap();
    fs::write(name("short.ring"), b"PFTRACE1").unwrap();
    fs::create_dir(name("directory.ring")).unwrap();
    fs::write(name("notes.txt"), b"whatever").unwrap();
    std::os::unix::fs::symlink(name("gone"), name("dangling.ring")).unwrap();
    let fifo = c_path(&name("fifo.ring"));
    // SAFETY: a terminated name.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let mut folder = Folder::open(dir.path()).unwrap();
    // They could be in the making.
    assert_eq!(folder.read(false).len(), 1);
    assert!(folder.take_problems().is_empty());
    assert_eq!(folder.read(true).len(), 0);
    let mut problems = folder.take_problems();
    problems.sort_by(|a, b| a.ring.cmp(&b.ring));
    let told: Vec<String> = problems.iter().map(|p| p.to_string()).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    for (told, name) in told
        .iter()
        .zip(["dangling", "directory", "fifo", "random", "short"])
    {
        assert!(told.contains(&format!("/{name}.ring: ")), "{told}");
    }
    assert!(matches!(problems[1].why, Wrong::NoFile), "{told:?}");
    assert!(matches!(problems[3].why, Wrong::NoRing), "{told:?}");
    folder.read(true);
    assert!(folder.take_problems().is_empty(), "once each");
    assert!(Folder::open(&name("nowhere")).is_err());
}
