//! The same as `lane_tests`, of calls that are recorded: which of them go by their thread's lane, and what each leaves in the
//! ring.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use trace::{ENDING, Reader, Told};

use crate::calls::recorded::as_before;
use crate::hold::lane::{enter, enter_recorded};
use crate::tell::called::{self, Called};
use crate::tell::records;
use crate::what::data::{Position, Transfer};
use crate::what::descriptors;
use crate::who::owned::Process;
use crate::who::thread;
use crate::world::{Buffer, World, at, bare, c_path, fenced, made_by};

const PAGE: usize = 4096;
const ALL: &str = "[defaults]\ntrace = \"all\"";

/// A process with a trace.
fn traced(world: &World, policy: &str) -> &'static Process {
    let process = world.process_by(policy);
    let trace = c_path(&world.path("trace"));
    std::fs::create_dir_all(world.path("trace")).unwrap();
    process.enter(|| records::init(Some("off"), Some(&trace), None));
    process
}

/// What the only ring tells.
fn told(world: &World) -> Vec<Told> {
    let mut rings = std::fs::read_dir(world.path("trace")).unwrap();
    let ring = rings.next().unwrap().unwrap().path();
    assert!(rings.next().is_none() && ring.to_str().unwrap().ends_with(ENDING));
    Reader::open(&ring).unwrap().read(true).unwrap()
}

fn with(path: &Path, process: &'static Process, act: impl FnOnce(i32) + Send + 'static) {
    let fd = process.open(path, libc::O_RDWR);
    process.spawn(move || act(fd)).join().unwrap();
}

fn made(write: bool, fd: i32, place: Position) -> isize {
    let buffer = Buffer::of(100, 1);
    let (base, len) = buffer.all();
    let call = Transfer {
        at: place,
        ..at(write, fd, (base, len), 0)
    };
    // SAFETY: the test's own buffer.
    let at_offset = || unsafe {
        match write {
            true => libc::write(fd, base, len),
            false => libc::read(fd, base, len),
        }
    };
    made_by(&call, || match place {
        Position::Offset => at_offset(),
        Position::At(_) => bare(&call),
    })
}

/// Three calls, after which the next one goes by it: before the first nobody knows what the number is.
fn warm(fd: i32) {
    (0..3).for_each(|_| assert_eq!(made(false, fd, Position::At(0)), 100));
}

/// Whether the next call on it does.
fn goes(fd: i32) -> bool {
    let in_lane = enter_recorded(fd, false);
    in_lane.map(|(in_lane, _)| in_lane.end()).is_some()
}

type Short = (bool, Option<(u64, u64)>, i64);

fn short(told: &Told) -> Short {
    let call = told.record.call.unwrap();
    let is_write = call.what == trace::What::Write;
    (is_write, told.record.range, call.result)
}

#[test]
fn each_that_goes_by_it_is_a_record() {
    let world = World::new();
    let path = world.file("file", PAGE, 1);
    let a = traced(&world, ALL);
    let seen = path.clone();
    with(&path, a, move |fd| {
        warm(fd);
        assert!(goes(fd) && enter::<false>(fd, false).is_none());
        let buffer = Buffer::of(100, 7);
        let calls = [
            at(false, fd, buffer.all(), 50),
            at(true, fd, buffer.all(), 4000),
            // Less than it asks for, nothing, and what can't be.
            at(false, fd, buffer.all(), 4050),
            at(false, fd, buffer.all(), 9000),
            at(false, fd, (core::ptr::null_mut(), 10), 0),
            at(false, fd, buffer.all(), -1),
        ];
        let results = calls.map(|call| as_before(&call, &|| bare(&call)).unwrap());
        assert_eq!(results, [100, 100, 50, 0, -1, -1]);
        // At the offset, which it moves.
        assert_eq!(made(true, fd, Position::Offset), 100);
        assert_eq!(made(false, fd, Position::Offset), 100);
        assert!(goes(fd));
    });
    let told = told(&world);
    let last: Vec<Short> = told.iter().skip(3).map(short).collect();
    assert_eq!(
        last,
        [
            (false, Some((50, 149)), 100),
            (true, Some((4000, 4099)), 100),
            (false, Some((4050, 4099)), 50),
            (false, Some((9000, 9099)), 0),
            (false, Some((0, 9)), -i64::from(libc::EFAULT)),
            (false, None, -i64::from(libc::EINVAL)),
            (true, Some((0, 99)), 100),
            (false, Some((100, 199)), 100),
        ]
    );
    let (path, file) = (seen.as_os_str().as_encoded_bytes(), told[0].record.file);
    for one in &told {
        let record = &one.record;
        assert!(&*one.path == path && record.file == file && file.is_some());
        assert_eq!(
            (record.process, record.thread),
            (told[0].record.process, told[0].record.thread)
        );
        assert!(record.nanoseconds.is_some_and(|ns| ns < 10_000_000_000));
    }
    assert!(told.is_sorted_by_key(|one| one.record.time));
}

#[test]
fn an_append_is_recorded_where_it_went() {
    let world = World::new();
    let path = world.file("file", PAGE, 1);
    let a = traced(&world, ALL);
    let fd = a.open(&path, libc::O_RDWR | libc::O_APPEND);
    let act = move || {
        warm(fd);
        assert!(goes(fd));
        assert_eq!(made(true, fd, Position::Offset), 100);
        assert_eq!(made(true, fd, Position::At(7)), 100);
        assert!(goes(fd));
    };
    a.spawn(act).join().unwrap();
    let last: Vec<Short> = told(&world).iter().skip(3).map(short).collect();
    let end = PAGE as u64;
    assert_eq!(
        last,
        [(true, Some((end, end + 99)), 100), (true, None, 100)]
    );
}

#[test]
fn nothing_goes_by_it_where_more_is_recorded_or_wanted() {
    for policy in [
        "[defaults]\ntrace = \"contents\"",
        "[defaults]\ntrace = \"all\"\nisolation = \"atomic\"",
        "[defaults]\ntrace = \"all\"\nroute = \"buffered\"",
        "[defaults]\ntrace = \"all\"\nroute = \"direct\"",
        "",
    ] {
        let world = World::new();
        let path = world.file("file", PAGE, 1);
        with(&path, traced(&world, policy), move |fd| {
            warm(fd);
            assert!(!goes(fd), "{policy}");
        });
    }
}

#[test]
fn nothing_goes_by_it_while_the_file_is_mixed_and_all_is_recorded() {
    let world = World::new();
    let path = world.file("file", PAGE, 1);
    let (a, b) = (traced(&world, ALL), world.process());
    let other = b.open(&path, libc::O_RDWR | libc::O_DIRECT);
    with(&path, a, move |fd| {
        warm(fd);
        assert!(goes(fd));
        let buffer = Buffer::of(PAGE, 9);
        let write = || fenced(&at(true, other, buffer.all(), 0));
        assert_eq!(b.enter(write), PAGE as isize);
        assert!(!goes(fd));
        warm(fd);
        assert!(!goes(fd));
    });
    assert_eq!(
        told(&world)
            .iter()
            .filter(|t| t.record.call.is_some())
            .count(),
        6
    );
}

#[test]
fn a_number_that_leads_to_another_file_is_not_recorded_as_the_first() {
    let world = World::new();
    let (path, other) = (world.file("file", PAGE, 1), world.file("other", PAGE, 2));
    let a = traced(&world, ALL);
    let there = other.clone();
    with(&path, a, move |fd| {
        warm(fd);
        assert!(goes(fd));
        let other = a.open(&there, libc::O_RDWR);
        // SAFETY: numbers of the test's.
        let real = || unsafe { libc::dup2(other, fd) };
        assert_eq!(crate::calls::numbers::dup_to(other, fd, real), fd);
        assert!(!goes(fd));
        warm(fd);
        assert!(goes(fd));
    });
    let paths: Vec<_> = told(&world).iter().map(|one| one.path.clone()).collect();
    let name = |path: &Path| std::sync::Arc::from(path.as_os_str().as_encoded_bytes());
    assert_eq!(
        paths,
        [
            [name(&path), name(&path), name(&path)],
            [name(&other), name(&other), name(&other)]
        ]
        .concat()
    );
}

/// As the child of a handler's fork that has told something of its own meanwhile.
#[test]
fn a_ring_that_does_not_know_the_file_is_not_told_its_path() {
    let world = World::new();
    let path = world.file("file", PAGE, 1);
    with(&path, traced(&world, ALL), move |fd| {
        warm(fd);
        let (in_lane, mut recorded) = enter_recorded(fd, false).unwrap();
        in_lane.end();
        let pinned = descriptors::pin(fd).unwrap();
        let known = pinned.file.called.load(Relaxed);
        assert!(called::place(pinned.file.id(), known).is_some());
        assert!(called::place(pinned.file.id(), known ^ 1 << 40).is_none());
        assert!(called::place(pinned.file.id(), 0).is_none());
        pinned.unpin();
        recorded.ring = recorded.ring.checked_add(1).unwrap();
        let call = trace::Call {
            what: trace::What::Read,
            mode: trace::Mode::BufferedRead,
            door: trace::Door::Unknown,
            result: 1,
        };
        let called = Called {
            file: recorded.file,
            path: recorded.path,
            call,
            range: None,
            begun: 1,
            took: 1,
        };
        called::tell_again(thread::current(), &recorded, called);
    });
    let told = told(&world);
    assert!(told[0].path.len() > 1 && told[3].path.is_empty());
}
