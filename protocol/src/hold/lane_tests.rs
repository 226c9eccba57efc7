//! Which calls go by their thread's lane, which must look again, and what stands in the table meanwhile.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::channel;

use lock_table::Mode;

use crate::calls::numbers;
use crate::hold::lane::{InLane, enter};
use crate::what::words;
use crate::who::lane::Calls;
use crate::who::owned::Process;
use crate::who::{lineage, process, thread};
use crate::world::{Buffer, Done, World, at, bare, fenced, made_by};

const PAGE: usize = 4096;
const BOTH_WAYS: i32 = libc::O_RDWR;

fn read(fd: i32) -> isize {
    let buffer = Buffer::of(1, 0);
    fenced(&at(false, fd, buffer.all(), 0))
}

/// Two calls, after which the next one goes by the lane.
fn warm(fd: i32) {
    (0..2).for_each(|_| assert_eq!(read(fd), 1));
}

/// Whether the next call on it does.
fn goes(fd: i32) -> bool {
    enter::<false>(fd, false).map(InLane::end).is_some()
}

/// In a thread of a process with the file open.
fn with(path: &Path, process: &'static Process, act: impl FnOnce(i32) + Send + 'static) {
    let fd = process.open(path, BOTH_WAYS);
    process.spawn(move || act(fd)).join().unwrap();
}

#[test]
fn the_third_call_in_a_row_goes_by_it() {
    let world = World::new();
    let (path, other) = (world.file("file", PAGE, 1), world.file("other", PAGE, 1));
    let a = world.process();
    let other = a.open(&other, BOTH_WAYS);
    with(&path, a, move |fd| {
        assert_eq!(read(fd), 1);
        assert!(!goes(fd));
        assert_eq!(read(fd), 1);
        assert!(goes(fd) && goes(fd) && !goes(other));
        // Also when it is only found out in it.
        let lane = &thread::current().lane;
        assert!(lane.again(Calls::on(fd, false)).is_some());
        assert!(lane.again(Calls::on(other, false)).is_none());
        assert_eq!(read(other), 1);
        assert!(!goes(fd) && !goes(other));
        warm(fd);
        assert!(goes(fd));
    });
}

#[test]
fn what_it_does_stands_in_the_table() {
    let world = World::new();
    let path = world.file("file", PAGE, 1);
    with(&path, world.process(), |fd| {
        warm(fd);
        let buffer = Buffer::of(1, 9);
        let table = process::table().unwrap();
        for write in [false, true, true, false] {
            assert!(goes(fd));
            let call = at(write, fd, buffer.all(), 0);
            let told = made_by(&call, || {
                let slots = table.snapshot().slots;
                let [slot] = slots.as_slice() else {
                    return -2;
                };
                let mode = if write {
                    Mode::BufferedWrite
                } else {
                    Mode::BufferedRead
                };
                assert_eq!((slot.claim.mode, slot.claim.first), (mode, 0));
                assert_eq!(
                    slot.claim.file.ino,
                    std::fs::metadata(format!("/proc/self/fd/{fd}"))
                        .unwrap()
                        .ino()
                );
                bare(&call)
            });
            assert_eq!(told, 1);
            assert!(table.snapshot().slots.is_empty());
        }
    });
}

#[test]
fn a_number_that_stands_for_another_file_has_another() {
    let world = World::new();
    let (path, other) = (world.file("file", PAGE, 1), world.file("other", PAGE, 2));
    let a = world.process();
    with(&path, a, move |fd| {
        warm(fd);
        let other = a.open(&other, BOTH_WAYS);
        // SAFETY: numbers of the test's.
        let real = || unsafe { libc::dup2(other, fd) };
        assert_eq!(numbers::dup_to(other, fd, real), fd);
        assert!(!goes(fd));
        warm(fd);
        assert!(goes(fd));
    });
}

#[test]
fn nothing_goes_by_it_while_the_file_is_mixed() {
    let world = World::new();
    let path = world.file("file", PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let fd = a.open(&path, BOTH_WAYS);
    let (to, from) = channel();
    let (done, is_done) = channel();
    let thread = a.spawn(move || {
        warm(fd);
        assert!(goes(fd));
        done.send(()).unwrap();
        from.recv().unwrap();
        assert!(!goes(fd));
        warm(fd);
        assert!(!goes(fd));
    });
    is_done.recv().unwrap();
    let other = b.open(&path, libc::O_RDWR | libc::O_DIRECT);
    let write = move || {
        let buffer = Buffer::of(PAGE, 9);
        fenced(&at(true, other, buffer.all(), 0))
    };
    assert_eq!(Done::by(b, write).at_last(), PAGE as isize);
    to.send(()).unwrap();
    thread.join().unwrap();
}

#[test]
fn the_first_direct_user_waits_for_who_goes_by_it() {
    let world = World::new();
    let path = world.file("file", PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let fd = a.open(&path, BOTH_WAYS);
    let ((entered, inside), (go, may_go)) = (channel(), channel::<()>());
    let slow = a.spawn(move || {
        warm(fd);
        assert!(goes(fd));
        let buffer = Buffer::of(1, 7);
        let call = at(true, fd, buffer.all(), 0);
        made_by(&call, || {
            entered.send(()).unwrap();
            may_go.recv().unwrap();
            bare(&call)
        })
    });
    inside.recv().unwrap();
    let other = b.open(&path, libc::O_RDWR | libc::O_DIRECT);
    let read = Done::by(b, move || {
        let buffer = Buffer::of(PAGE, 0);
        fenced(&at(false, other, buffer.all(), 0))
    });
    assert_eq!(read.soon(), None);
    go.send(()).unwrap();
    assert_eq!(slow.join().unwrap(), 1);
    assert_eq!(read.at_last(), PAGE as isize);
}

#[test]
fn nothing_goes_by_it_where_calls_are_looked_at_or_hold_ranges() {
    let world = World::new();
    let path = world.file("file", PAGE, 1);
    for policy in [
        "[defaults]\nroute = \"buffered\"",
        "[defaults]\nroute = \"direct\"",
        "[defaults]\nisolation = \"atomic\"",
        "[defaults]\nmode = \"off\"",
    ] {
        with(&path, world.process_by(policy), move |fd| {
            warm(fd);
            assert!(!goes(fd), "{policy}");
        });
    }
}

#[test]
fn nothing_goes_by_it_in_another_process_or_when_nothing_is_fenced_any_more() {
    let world = World::new();
    let path = world.file("file", PAGE, 1);
    let a = world.process();
    with(&path, a, |fd| {
        warm(fd);
        assert!(goes(fd));
        // As the kernel leaves it in a child.
        let (word, epoch) = lineage::epoch().unwrap();
        word.store(0, std::sync::atomic::Ordering::SeqCst);
        assert!(!goes(fd));
        // And as the child goes on.
        lineage::this_is_the_process();
        assert!(!goes(fd) && lineage::epoch().unwrap().1 != epoch);
        warm(fd);
        assert!(goes(fd));
        process::stop_fencing();
        assert!(!goes(fd));
        warm(fd);
        assert!(!goes(fd));
    });
}

#[test]
fn nothing_goes_by_it_within_a_call_or_when_the_slot_is_anothers() {
    let world = World::new();
    let path = world.file("file", PAGE, 1);
    with(&path, world.process(), |fd| {
        warm(fd);
        let buffer = Buffer::of(1, 0);
        let call = at(false, fd, buffer.all(), 0);
        let within = made_by(&call, || if goes(fd) { -2 } else { read(fd) });
        assert_eq!(within, 1);
        warm(fd);
        assert!(goes(fd));
        let (thread, table) = (thread::current(), process::table().unwrap());
        let slot = thread.outermost().slot.replace(0);
        table.give_slot(table.slot_at(slot - 1).unwrap());
        assert!(!goes(fd));
    });
}

#[test]
fn words_of_numbers_that_begin_anew_end_what_is_kept() {
    let world = World::new();
    let path = world.file("file", PAGE, 1);
    with(&path, world.process(), |fd| {
        warm(fd);
        assert!(goes(fd));
        let turns = 1 + (1 << 24);
        (0..turns).for_each(|_| {
            words::make(words::UNKNOWN, 0);
        });
        assert!(!goes(fd));
    });
}
