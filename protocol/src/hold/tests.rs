//! Ranges that two processes want: who has them, for how long one waits, and what brings them back.

use std::time::{Duration, Instant};

use lock_table::Mode;

use crate::hold::call::{self, under_frame};
use crate::hold::give_back;
use crate::hold::ranges::{self, Got};
use crate::hold::terms::{END_OF_TIME, Terms};
use crate::what::descriptors;
use crate::who::owned::Process;
use crate::who::process::active;
use crate::who::thread;
use crate::world::{Done, World};

/// Whether the process could have this range now.
fn could_have(process: &'static Process, fd: i32, mode: Mode, (first, last): (u64, u64)) -> bool {
    let takes = move || {
        let thread = active().unwrap();
        let frame = call::begin(thread, false).unwrap();
        let pinned = descriptors::pin(fd).unwrap();
        let terms = Terms::of(pinned.file, fd);
        let got = ranges::take(thread, frame, &terms, &terms.claim(mode, first, last), true);
        pinned.unpin();
        call::end(thread, frame);
        got == Got::Go
    };
    process.spawn(takes).join().unwrap()
}

/// Takes the range in this thread, for a call that is under way from now on.
fn take(fd: i32, mode: Mode, (first, last): (u64, u64)) -> Got {
    let thread = active().unwrap();
    let frame = call::begin(thread, false).unwrap();
    let pinned = descriptors::pin(fd).unwrap();
    frame.pinned.set(pinned.index);
    let terms = Terms::of(pinned.file, fd);
    ranges::take(
        thread,
        frame,
        &terms,
        &terms.claim(mode, first, last),
        false,
    )
}

#[test]
fn a_range_excludes_the_other_process_and_no_more_than_that() {
    let world = World::new();
    let path = world.file("file", 8 << 20, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (a.open(&path, libc::O_RDWR), b.open(&path, libc::O_RDWR));
    a.enter(|| {
        assert!(take(one, Mode::DirectWrite, (4096, 8191)) == Got::Go);
        assert!(!could_have(b, other, Mode::BufferedRead, (8000, 8000)));
        assert!(!could_have(b, other, Mode::DirectWrite, (4096, 4096)));
        assert!(!could_have(b, other, Mode::Layout, (0, END_OF_TIME)));
        assert!(could_have(b, other, Mode::BufferedRead, (8192, 9000)));
        assert!(could_have(b, other, Mode::DirectWrite, (0, 4095)));
        give_back::all(thread::current());
        assert!(could_have(b, other, Mode::Layout, (0, END_OF_TIME)));
    });
}

#[test]
fn what_a_jump_leaves_behind_is_given_back() {
    let world = World::new();
    let path = world.file("file", 1 << 20, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (a.open(&path, libc::O_RDWR), b.open(&path, libc::O_RDWR));
    let is_free = || could_have(b, other, Mode::DirectWrite, (0, 0));
    let from_here = thread::stack_here();
    #[inline(never)]
    fn deeper(fd: i32) {
        assert!(take(fd, Mode::BufferedWrite, (0, 0)) == Got::Go);
    }
    a.enter(|| {
        deeper(one);
        assert!(!is_free());
        // To a place below the call: it goes on.
        give_back::unwound_to(thread::stack_here() - (1 << 16));
        assert!(!is_free());
        give_back::unwound_to(from_here);
        assert!(is_free(), "longjmp");
        // Nobody says so (siglongjmp by other ways): the thread's next call finds it.
        deeper(one);
        assert!(!is_free());
        let thread = active().unwrap();
        let frame = thread.enter(give_back::abandoned).unwrap();
        assert!(is_free() && frame.pinned.get() == 0);
        thread.leave(frame);
    });
}

#[test]
fn all_waits_of_a_call_share_one_deadline() {
    const LIMIT: Duration = Duration::from_millis(600);
    const FIRST: Duration = Duration::from_millis(400);
    let world = World::new();
    let path = world.file("file", 1 << 20, 1);
    let (a, b) = (
        world.process_by("[defaults]\nlock_timeout = \"600ms\""),
        world.process(),
    );
    let (one, other) = (a.open(&path, libc::O_RDWR), b.open(&path, libc::O_RDWR));
    let (held, is_held) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let first = b.spawn(move || {
        assert!(take(other, Mode::DirectWrite, (0, 0)) == Got::Go);
        held.send(()).unwrap();
        std::thread::sleep(FIRST);
    });
    is_held.recv().unwrap();
    let (held, is_held) = std::sync::mpsc::channel();
    let second = b.spawn(move || {
        assert!(take(other, Mode::DirectWrite, (9 << 12, 9 << 12)) == Got::Go);
        held.send(()).unwrap();
        may_go.recv().unwrap();
    });
    is_held.recv().unwrap();
    let call = Done::by(a, move || {
        let since = Instant::now();
        let turn = core::cell::Cell::new(0);
        let result = under_frame(one, false, &|| 0, |thread, frame, pinned| {
            let place = (9 << 12) * turn.replace(turn.get() + 1);
            let terms = Terms::of(pinned.file, one);
            let claim = terms.claim(Mode::BufferedRead, place, place);
            match ranges::take(thread, frame, &terms, &claim, false) {
                Got::Refused(error) => Some(-error as isize),
                // As if the number stood for another file now.
                Got::Go if place == 0 => None,
                Got::Go => Some(0),
            }
        });
        (result, turn.get(), since.elapsed())
    });
    let (result, turns, took) = call.at_last();
    assert_eq!((result, turns), (-libc::EDEADLK as isize, 2));
    assert!(took >= LIMIT && took < LIMIT + FIRST, "{took:?}");
    go.send(()).unwrap();
    first.join().unwrap();
    second.join().unwrap();
}

#[test]
fn a_process_that_only_looks_on_waits_for_nobody() {
    let world = World::new();
    let path = world.file("file", 1 << 20, 1);
    let (a, b) = (
        world.process_by("[defaults]\nmode = \"observe\""),
        world.process(),
    );
    let (one, other) = (a.open(&path, libc::O_RDWR), b.open(&path, libc::O_RDWR));
    b.enter(|| assert!(take(other, Mode::Layout, (0, END_OF_TIME)) == Got::Go));
    let call = Done::by(a, move || take(one, Mode::BufferedWrite, (0, 0)) == Got::Go);
    assert_eq!(call.soon(), Some(true));
    b.enter(|| give_back::all(thread::current()));
}
