//! Files that are used in one mode, the turn to two, and the way back.

use std::path::Path;

use crate::calls::layout::{self, Change};
use crate::calls::numbers;
use crate::what::{descriptions, descriptors};
use crate::who::owned::Process;
use crate::world::{Buffer, Done, Slow, World, at, fenced};

const PAGE: usize = 4096;
const DIRECT: i32 = libc::O_RDWR | libc::O_DIRECT;
/// So many calls that take ranges, and it has been looked whether they still must.
const MANY: i64 = 70;

fn is_alone(process: &'static Process, fd: i32) -> bool {
    process.enter(|| {
        let pinned = descriptors::pin(fd).unwrap();
        pinned.unpin();
        pinned.file.is_direct_alone()
    })
}

fn locks(process: &'static Process, fd: i32) -> bool {
    process.enter(|| {
        let pinned = descriptors::pin(fd).unwrap();
        pinned.unpin();
        pinned.file.locks()
    })
}

/// One page, read or written.
fn page(process: &'static Process, write: bool, fd: i32, place: i64) -> Done<isize> {
    Done::by(process, move || {
        let buffer = Buffer::of(PAGE, 9);
        fenced(&at(write, fd, buffer.all(), place))
    })
}

fn read_often(process: &'static Process, fd: i32) {
    (0..MANY).for_each(|_| assert_eq!(page(process, false, fd, 0).at_last(), PAGE as isize));
}

/// Opened past the page cache, by a process that has shown that nobody else is in the file.
fn direct(process: &'static Process, path: &Path) -> i32 {
    let fd = process.open(path, DIRECT);
    assert_eq!(page(process, false, fd, 0).at_last(), PAGE as isize);
    fd
}

fn truncate(process: &'static Process, fd: i32, to: i64) -> Done<isize> {
    Done::by(process, move || {
        layout::change(fd, Change::Truncate(to), || {
            kernel::libc_result(kernel::ftruncate(fd, to as u64))
        })
    })
}

#[test]
fn where_all_use_is_direct_nobody_waits_for_anybody() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (direct(a, &path), direct(b, &path));
    assert!(is_alone(a, one) && is_alone(b, other));
    let slow = Slow::of(a, true, one, 0, PAGE);
    assert_eq!(page(b, true, other, 0).soon(), Some(PAGE as isize));
    assert_eq!(page(b, false, other, 0).soon(), Some(PAGE as isize));
    assert_eq!(slow.end(), PAGE as isize);
}

#[test]
fn the_first_user_of_the_cache_waits_for_direct_calls() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let one = direct(a, &path);
    let slow = Slow::of(a, true, one, 0, PAGE);
    let other = b.open(&path, libc::O_RDWR);
    let read = page(b, false, other, 0);
    assert_eq!(read.soon(), None);
    assert!(!is_alone(a, one) && locks(a, one));
    assert_eq!(slow.end(), PAGE as isize);
    assert_eq!(read.at_last(), PAGE as isize);
}

#[test]
fn the_first_direct_user_waits_for_a_call_whose_file_was_closed() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let one = a.open(&path, libc::O_RDWR);
    let slow = Slow::of(a, true, one, 0, PAGE);
    a.close(one);
    let other = b.open(&path, DIRECT);
    let write = page(b, true, other, PAGE as i64);
    assert_eq!(write.soon(), None);
    slow.end();
    assert_eq!(write.at_last(), PAGE as isize);
}

#[test]
fn who_may_extend_a_direct_file_is_alone_at_its_end() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (direct(a, &path), direct(b, &path));
    let end = 8 * PAGE as i64;
    let slow = Slow::of(a, true, one, end, PAGE);
    let write = page(b, true, other, end);
    assert_eq!(write.soon(), None);
    assert_eq!(slow.end(), PAGE as isize);
    assert_eq!(write.at_last(), PAGE as isize);
    // And it is over when nobody extends it any more.
    read_often(a, one);
    read_often(b, other);
    assert!(is_alone(a, one) && is_alone(b, other));
}

#[test]
fn who_moves_the_layout_of_a_direct_file_is_alone_in_it() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (direct(a, &path), direct(b, &path));
    let slow = Slow::of(a, false, one, 0, PAGE);
    let cut = truncate(b, other, 0);
    assert_eq!(cut.soon(), None);
    let late = page(a, true, one, 0);
    assert_eq!(late.soon(), None, "who comes later waits for it");
    slow.end();
    assert_eq!(cut.at_last(), 0);
    assert_eq!(late.at_last(), PAGE as isize);
}

#[test]
fn parts_of_pages_are_written_one_after_the_other() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (direct(a, &path), direct(b, &path));
    let slow = Slow::of(a, true, one, 0, 512);
    let write = page(b, true, other, 0);
    assert_eq!(write.soon(), None);
    slow.end();
    assert_eq!(write.at_last(), PAGE as isize);
}

#[test]
fn calls_as_a_whole_take_ranges_also_where_all_use_is_direct() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (
        world.process(),
        world.process_by("[defaults]\nisolation = \"atomic\""),
    );
    let one = direct(a, &path);
    assert!(is_alone(a, one));
    let other = b.open(&path, DIRECT);
    let slow = Slow::of(b, true, other, 0, PAGE);
    assert_eq!(page(a, false, one, 0).soon(), None);
    slow.end();
}

#[test]
fn the_last_close_of_a_mode_takes_its_use_away() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (direct(a, &path), b.open(&path, libc::O_RDWR));
    let copy = b.open(&path, libc::O_RDONLY);
    read_often(b, other);
    read_often(b, copy);
    b.close(other);
    read_often(a, one);
    assert!(!is_alone(a, one), "one of two is left");
    b.close(copy);
    read_often(a, one);
    assert!(is_alone(a, one));
    // And the other way round.
    let other = b.open(&path, libc::O_RDWR);
    read_often(b, other);
    assert!(locks(b, other));
    a.close(one);
    read_often(b, other);
    assert!(!locks(b, other));
}

#[test]
fn within_one_process_too() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let a = world.process();
    let (one, other) = (direct(a, &path), a.open(&path, libc::O_RDWR));
    read_often(a, other);
    assert!(!is_alone(a, one));
    a.close(other);
    read_often(a, one);
    assert!(is_alone(a, one));
}

fn turn(process: &'static Process, fd: i32, flags: i32) {
    // SAFETY: a plain call.
    let real = || unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
    let turned = process.enter(|| numbers::fcntl(fd, libc::F_SETFL, flags as usize, real));
    assert_eq!(turned, 0);
}

#[test]
fn a_description_that_is_turned_is_of_its_new_mode() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (direct(a, &path), direct(b, &path));
    turn(b, other, 0);
    assert!(!is_alone(a, one) && locks(b, other));
    let slow = Slow::of(b, true, other, 0, PAGE);
    assert_eq!(page(a, true, one, 0).soon(), None);
    slow.end();
    turn(b, other, libc::O_DIRECT);
    read_often(a, one);
    assert!(is_alone(a, one) && is_alone(b, other));
    turn(a, one, 0);
    turn(b, other, 0);
    read_often(a, one);
    read_often(b, other);
    assert!(!locks(a, one) && !locks(b, other));
}

#[test]
fn a_shared_description_is_turned_for_all_who_may_have_it() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (direct(a, &path), direct(b, &path));
    b.enter(descriptions::all_shared);
    turn(b, other, 0);
    turn(b, other, libc::O_DIRECT);
    read_often(a, one);
    assert!(!is_alone(a, one), "it may be the same description");
}

#[test]
fn a_mapping_is_a_use_until_it_goes() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (direct(a, &path), direct(b, &path));
    let at = b.map(other, PAGE, libc::PROT_READ | libc::PROT_WRITE);
    read_often(a, one);
    assert!(!is_alone(a, one));
    b.close(other);
    read_often(a, one);
    assert!(!is_alone(a, one), "it is mapped still");
    b.unmap(at, PAGE);
    read_often(a, one);
    assert!(is_alone(a, one));
}

#[test]
fn who_opens_while_another_goes_back_wins() {
    let world = World::new();
    let path = world.file("file", 8 * PAGE, 1);
    let (a, b) = (world.process(), world.process());
    let one = direct(a, &path);
    let reader = a.spawn(move || {
        let buffer = Buffer::of(PAGE, 9);
        for _ in 0..3000 {
            assert_eq!(fenced(&at(false, one, buffer.all(), 0)), PAGE as isize);
        }
    });
    let mut turns = 0;
    while !reader.is_finished() {
        let other = b.open(&path, libc::O_RDWR);
        assert_eq!(page(b, false, other, 0).at_last(), PAGE as isize);
        assert!(locks(b, other) && !is_alone(a, one));
        b.close(other);
        turns += 1;
    }
    reader.join().unwrap();
    assert!(turns > 3, "{turns}");
}
