//! The same as `lane_tests`, of calls past the page cache: which of them go by their thread's lane, what must be looked at
//! each time, and what they have while they are made.

use std::path::Path;
use std::sync::mpsc::channel;

use lock_table::Mode;

use crate::calls::numbers;
use crate::hold::all_direct::as_before;
use crate::hold::lane::{InLane, enter, is_for};
use crate::tell::records;
use crate::what::data::{Position, Transfer};
use crate::what::{descriptions, descriptors};
use crate::who::lane::Calls;
use crate::who::owned::Process;
use crate::who::{process, thread};
use crate::world::{Buffer, Done, World, at, bare, c_path, fenced, made_by};

const PAGE: usize = 4096;
const DIRECT: i32 = libc::O_RDWR | libc::O_DIRECT;
const END: i64 = 8 * PAGE as i64;

fn made(write: bool, fd: i32, len: usize) -> isize {
    let buffer = Buffer::of(len, 2);
    fenced(&at(write, fd, buffer.all(), 0))
}

/// Two calls, after which the next one goes by the lane; and before them one that may take its range.
fn warm(fd: i32, write: bool) {
    (0..3).for_each(|_| assert_eq!(made(write, fd, PAGE), PAGE as isize));
}

/// Whether the next call on it does.
fn goes(fd: i32) -> bool {
    enter::<true>(fd, false).map(InLane::end).is_some()
}

/// Whether this one does, which comes after such as do.
fn is_made_so(call: &Transfer) -> bool {
    warm(call.fd, true);
    assert!(goes(call.fd));
    let is_made = as_before(call, &|| bare(call)).is_some();
    assert_eq!(
        is_made,
        is_for(Calls::on(call.fd, true)),
        "it leaves the lane"
    );
    is_made
}

/// In a thread of a process with the file open.
fn with(path: &Path, process: &'static Process, act: impl FnOnce(i32) + Send + 'static) {
    let fd = process.open(path, DIRECT);
    process.spawn(move || act(fd)).join().unwrap();
}

#[test]
fn the_third_direct_call_in_a_row_goes_by_it() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let a = world.process();
    let buffered = a.open(&world.file("other", PAGE, 1), libc::O_RDWR);
    with(&path, a, move |fd| {
        assert_eq!(made(false, fd, PAGE), PAGE as isize);
        assert!(!goes(fd));
        assert_eq!(made(true, fd, PAGE), PAGE as isize);
        assert!(goes(fd) && goes(fd) && enter::<false>(fd, false).is_none());
        assert_eq!(made(false, buffered, 1), 1);
        assert!(!goes(fd));
        warm(fd, true);
        assert!(goes(fd));
    });
}

#[test]
fn what_a_direct_call_does_stands_in_the_table() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    with(&path, world.process(), |fd| {
        warm(fd, true);
        let (buffer, table) = (Buffer::of(PAGE, 9), process::table().unwrap());
        for write in [false, true, true, false] {
            assert!(goes(fd));
            let call = at(write, fd, buffer.all(), PAGE as i64);
            let done = as_before(&call, &|| {
                let mode = match write {
                    true => Mode::DirectWrite,
                    false => Mode::DirectRead,
                };
                let slots = table.snapshot().slots;
                let whole = i64::MAX as u64;
                assert!(matches!(slots.as_slice(), [slot]
                    if (slot.claim.mode, slot.claim.first, slot.claim.last) == (mode, 0, whole)));
                bare(&call)
            });
            assert_eq!(done, Some(PAGE as isize));
            assert!(table.snapshot().slots.is_empty());
        }
    });
}

#[test]
fn no_direct_call_goes_by_it_when_the_number_stands_for_another_file() {
    let world = World::new();
    let (path, other) = (
        world.file("file", 8 * PAGE, 1),
        world.file("other", 8 * PAGE, 2),
    );
    let a = world.process();
    with(&path, a, move |fd| {
        warm(fd, false);
        assert!(goes(fd));
        let other = a.open(&other, DIRECT);
        // SAFETY: numbers of the test's.
        let real = || unsafe { libc::dup2(other, fd) };
        assert_eq!(numbers::dup_to(other, fd, real), fd);
        assert!(!goes(fd));
        warm(fd, false);
        assert!(goes(fd));
    });
}

#[test]
fn no_direct_call_goes_by_it_while_the_file_is_mixed() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let (opens, reads) = (path.clone(), move |other| {
        Done::by(b, move || made(false, other, PAGE)).at_last()
    });
    with(&path, a, move |fd| {
        warm(fd, false);
        assert!(goes(fd));
        let other = b.open(&opens, libc::O_RDWR);
        assert_eq!(reads(other), PAGE as isize);
        assert!(!goes(fd));
        warm(fd, false);
        assert!(!goes(fd));
    });
}

#[test]
fn no_direct_call_goes_by_it_when_the_description_is_turned() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    with(&path, world.process(), |fd| {
        warm(fd, false);
        assert!(goes(fd));
        set_flags(fd, 0);
        assert!(!goes(fd));
    });
}

fn set_flags(fd: i32, flags: i32) {
    // SAFETY: a plain call.
    let real = || unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
    assert_eq!(numbers::fcntl(fd, libc::F_SETFL, flags as usize, real), 0);
}

/// A call that goes by it and stays in the kernel until it is let go; what happens then, of which this says whether it waits.
fn meanwhile(world: &World, happens: impl FnOnce(&'static Process, i32) -> Done<isize>) {
    let path = world.file("file", 8 * PAGE, 1);
    let a = world.process();
    let fd = a.open(&path, DIRECT);
    let ((entered, inside), (go, may_go)) = (channel(), channel::<()>());
    let slow = a.spawn(move || {
        warm(fd, true);
        let buffer = Buffer::of(PAGE, 7);
        let call = at(true, fd, buffer.all(), 0);
        as_before(&call, &|| {
            entered.send(()).unwrap();
            may_go.recv().unwrap();
            PAGE as isize
        })
    });
    inside.recv().unwrap();
    let done = happens(a, fd);
    assert_eq!(done.soon(), None);
    go.send(()).unwrap();
    assert_eq!(slow.join().unwrap(), Some(PAGE as isize));
    assert_eq!(done.at_last(), PAGE as isize);
}

/// By one who uses the cache.
fn reads(world: &World) -> Done<isize> {
    let b = world.process();
    let fd = b.open(&world.path("file"), libc::O_RDWR);
    Done::by(b, move || made(false, fd, PAGE))
}

#[test]
fn the_first_user_of_the_cache_waits_for_who_goes_by_it() {
    let world = World::new();
    meanwhile(&world, |_, _| reads(&world));
}

#[test]
fn and_for_who_does_when_the_number_has_been_closed() {
    let world = World::new();
    meanwhile(&world, |a, fd| {
        a.close(fd);
        reads(&world)
    });
}

#[test]
fn a_description_has_no_more_users_than_before() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let other = b.open(&path, libc::O_RDWR);
    with(&path, a, move |fd| {
        b.close(other);
        warm(fd, false);
        assert!(goes(fd) && goes(fd));
        let pinned = descriptors::pin(fd).unwrap();
        a.close(fd);
        assert!(!descriptions::unpin_if_others_stay(pinned.index));
        pinned.unpin();
    });
}

#[test]
fn what_a_write_must_be_is_looked_at_each_time() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    with(&path, world.process(), |fd| {
        let buffer = Buffer::of(2 * PAGE, 9);
        let write = |len, place| at(true, fd, buffer.part(0, len), place);
        assert!(is_made_so(&write(PAGE, END - PAGE as i64)));
        // It may extend the file, or isn't made of pages.
        assert!(!is_made_so(&write(2 * PAGE, END - PAGE as i64)));
        assert!(!is_made_so(&write(512, 0)));
        assert!(!is_made_so(&write(PAGE, 512)));
        let call = Transfer {
            flags: libc::RWF_APPEND,
            ..write(PAGE, 0)
        };
        assert!(!is_made_so(&call));
    });
}

#[test]
fn a_write_by_a_description_that_has_come_to_append_takes_its_range() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    with(&path, world.process(), |fd| {
        let buffer = Buffer::of(PAGE, 9);
        let call = at(true, fd, buffer.all(), 0);
        warm(fd, true);
        set_flags(fd, libc::O_DIRECT | libc::O_APPEND);
        // That took the file for itself.
        assert_eq!(made(false, fd, PAGE), PAGE as isize);
        warm(fd, false);
        assert!(goes(fd));
        assert_eq!(as_before(&call, &|| unreachable!()), None);
    });
}

#[test]
fn a_write_that_moves_the_offset_has_it_until_it_has_ended() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    with(&path, world.process(), |fd| {
        let buffer = Buffer::of(PAGE, 9);
        let call = Transfer {
            at: Position::Offset,
            ..at(true, fd, buffer.all(), 0)
        };
        warm(fd, true);
        let pinned = descriptors::pin(fd).unwrap();
        let other = thread::current().tid.get() + 1;
        let is_free = || {
            let locks = pinned.description.lock_offset(other, None);
            if locks {
                pinned.description.unlock_offset();
            }
            locks
        };
        let done = as_before(&call, &|| match is_free() {
            true => -2,
            false => PAGE as isize,
        });
        assert!(done == Some(PAGE as isize) && is_free());
        pinned.unpin();
    });
}

#[test]
fn the_entry_of_a_mapping_that_is_read_into_stays() {
    let world = World::new();
    let (path, shown) = (
        world.file("file", 8 * PAGE, 1),
        world.file("shown", PAGE, 1),
    );
    let a = world.process();
    let other = a.open(&shown, libc::O_RDWR);
    with(&path, a, move |fd| {
        let mapped = a.map(other, PAGE, libc::PROT_READ | libc::PROT_WRITE);
        warm(fd, false);
        assert!(goes(fd));
        let call = at(false, fd, (mapped.cast(), PAGE), 0);
        let table = process::table().unwrap();
        let mappings = || table.snapshot().mappings.len();
        let before = mappings();
        let done = as_before(&call, &|| {
            a.unmap(mapped, PAGE);
            assert_eq!(mappings(), before);
            PAGE as isize
        });
        assert_eq!((done, mappings()), (Some(PAGE as isize), before - 1));
        assert!(goes(fd) && !thread::current().is_in_call());
    });
}

#[test]
fn no_direct_call_goes_by_it_where_more_is_wanted() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    for policy in [
        "[defaults]\nmode = \"observe\"",
        "[defaults]\nisolation = \"atomic\"",
        "[defaults]\ntrace = \"all\"",
    ] {
        let a = world.process_by(policy);
        let trace = c_path(&world.path("trace"));
        std::fs::create_dir_all(world.path("trace")).unwrap();
        a.enter(|| records::init(Some("off"), Some(&trace), None));
        with(&path, a, move |fd| {
            warm(fd, false);
            warm(fd, true);
            assert!(!goes(fd), "{policy}");
            a.close(fd);
        });
    }
}

#[test]
fn a_call_within_one_that_goes_by_it_goes_otherwise() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    with(&path, world.process(), |fd| {
        warm(fd, false);
        assert!(goes(fd));
        let buffer = Buffer::of(PAGE, 0);
        let call = at(false, fd, buffer.all(), 0);
        let within = made_by(&call, || if goes(fd) { -2 } else { made(false, fd, PAGE) });
        assert_eq!(within, PAGE as isize);
    });
}
