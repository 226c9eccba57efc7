//! Calls of two processes on one file: who waits for whom, and what comes of it.

use crate::calls::layout::{self, Change};
use crate::who::owned::Process;
use crate::world::{Buffer, Done, Slow, World, at, c_path, fenced};

const PAGE: i64 = 4096;
const DIRECT: i32 = libc::O_RDWR | libc::O_DIRECT;

/// Writes a page directly, by a thread of its own.
fn write_page(process: &'static Process, fd: i32, place: i64, byte: u8) -> Done<isize> {
    Done::by(process, move || {
        let page = Buffer::of(PAGE as usize, byte);
        fenced(&at(true, fd, page.all(), place))
    })
}

#[test]
fn a_direct_write_waits_for_a_buffered_reader_and_not_for_a_neighbour() {
    let world = World::new();
    let path = world.file("file", 8 << 20, 1);
    let (a, b) = (world.process(), world.process());
    let (direct, buffered) = (a.open(&path, DIRECT), b.open(&path, libc::O_RDONLY));
    // Both have used it: it is mixed.
    assert_eq!(write_page(a, direct, 0, 2).at_last(), PAGE as isize);
    assert_eq!(Slow::begin(b, false, buffered, 0).end(), 1);

    let reader = Slow::begin(b, false, buffered, PAGE + 5);
    // The pages beside the reader's, and another unit.
    for free in [0, 2 * PAGE, 6 << 20] {
        assert_eq!(
            write_page(a, direct, free, 3).soon(),
            Some(PAGE as isize),
            "{free}"
        );
    }
    let waits = write_page(a, direct, PAGE, 4);
    assert_eq!(waits.soon(), None, "it went past a reader");
    assert_eq!(reader.end(), 1);
    assert_eq!(waits.at_last(), PAGE as isize);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!((bytes[0], bytes[4096], bytes[8192]), (3, 4, 3));
}

#[test]
fn in_one_mode_nobody_waits() {
    let world = World::new();
    let path = world.file("file", 1 << 20, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (a.open(&path, libc::O_RDWR), b.open(&path, libc::O_RDWR));
    let slow = Slow::begin(a, true, one, 0);
    let write = Done::by(b, move || {
        let byte = Buffer::of(1, 9);
        fenced(&at(true, other, byte.all(), 0))
    });
    assert_eq!(write.soon(), Some(1));
    assert_eq!(slow.end(), 1);
}

#[test]
fn who_opens_the_file_in_another_mode_waits_for_calls_that_hold_nothing() {
    let world = World::new();
    let path = world.file("file", 1 << 20, 1);
    let (a, b) = (world.process(), world.process());
    let buffered = a.open(&path, libc::O_RDWR);
    let slow = Slow::begin(a, true, buffered, 0);
    let direct = b.open(&path, DIRECT);
    let write = write_page(b, direct, 0, 2);
    assert_eq!(
        write.soon(),
        None,
        "it went past a call that had announced itself"
    );
    assert_eq!(slow.end(), 1);
    assert_eq!(write.at_last(), PAGE as isize);
    assert_eq!(std::fs::read(&path).unwrap()[0], 2);
}

#[test]
fn what_moves_the_end_waits_for_who_is_beyond_it() {
    let world = World::new();
    let path = world.file("file", 12 << 20, 1);
    let (a, b) = (world.process(), world.process());
    let (direct, buffered) = (a.open(&path, DIRECT), b.open(&path, libc::O_RDWR));
    assert_eq!(write_page(a, direct, 0, 2).at_last(), PAGE as isize);
    let truncate = move |to: i64| {
        Done::by(b, move || {
            // SAFETY: a plain call.
            let real = || unsafe { libc::ftruncate(buffered, to) as isize };
            layout::change(buffered, Change::Truncate(to), real)
        })
    };
    let reader = Slow::begin(a, false, a.open(&path, libc::O_RDONLY), 1 << 20);
    assert_eq!(truncate(9 << 20).soon(), Some(0), "the reader is below");
    let waits = truncate(0);
    assert_eq!(waits.soon(), None, "blocks went under a reader");
    reader.end();
    assert_eq!(waits.at_last(), 0);
}

#[test]
fn appends_of_two_processes_both_survive() {
    let world = World::new();
    let path = world.file("file", 512, 1);
    let (a, b) = (world.process(), world.process());
    let direct = a.open(&path, DIRECT | libc::O_APPEND);
    let buffered = b.open(&path, libc::O_WRONLY | libc::O_APPEND);
    // The end of the file is one's alone while he is in the kernel.
    let slow = Slow::of(a, true, direct, 0, 512);
    let waits = Done::by(b, move || {
        let record = Buffer::of(512, 8);
        fenced(&at(true, buffered, record.all(), 0))
    });
    assert_eq!(waits.soon(), None, "two at one end");
    assert_eq!((slow.end(), waits.at_last()), (512, 512));
    let appends = |process, fd, byte| {
        Done::by(process, move || {
            (0..200).all(|_| {
                let record = Buffer::of(512, byte);
                fenced(&at(true, fd, record.all(), 0)) == 512
            })
        })
    };
    let (one, other) = (appends(a, direct, 2), appends(b, buffered, 3));
    assert!(one.at_last() && other.at_last());
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 512 * 403);
    let records: Vec<_> = bytes
        .chunks(512)
        .map(|r| (r[0], r.iter().all(|b| *b == r[0])))
        .collect();
    assert!(records.iter().all(|r| r.1), "a record is torn");
    for (byte, count) in [(1, 1), (7, 1), (8, 1), (2, 200), (3, 200)] {
        assert_eq!(
            records.iter().filter(|r| r.0 == byte).count(),
            count,
            "{byte}"
        );
    }
}

#[test]
fn a_number_that_changed_hands_unseen_is_looked_at_anew() {
    let world = World::new();
    let (one, other) = (world.file("one", 8192, 1), world.file("other", 8192, 1));
    let (a, b) = (world.process(), world.process());
    // Both files are mixed, so that calls take ranges and look under them.
    let (fd, buffered) = (a.open(&one, DIRECT), b.open(&one, libc::O_RDWR));
    let (other_fd, other_buffered) = (a.open(&other, DIRECT), b.open(&other, libc::O_RDWR));
    for (direct, buffered) in [(fd, buffered), (other_fd, other_buffered)] {
        assert_eq!(write_page(a, direct, 0, 2).at_last(), PAGE as isize);
        assert_eq!(Slow::begin(b, true, buffered, 0).end(), 1);
    }
    // SAFETY: past the library.
    assert_eq!(unsafe { libc::dup2(other_fd, fd) }, fd);
    let reader = Slow::begin(b, false, other_buffered, 0);
    let waits = write_page(a, fd, 0, 9);
    assert_eq!(
        waits.soon(),
        None,
        "it held a range of the file that was there"
    );
    assert_eq!(reader.end(), 1);
    assert_eq!(waits.at_last(), PAGE as isize);
    assert_eq!(std::fs::read(&other).unwrap()[0], 9);
}

/// What was in the file isn't any more when somebody has cut it off, whoever knew that it was (P12).
#[test]
fn a_write_beyond_where_the_file_was_cut_off_holds_its_end() {
    const FAR: i64 = 7 << 20;
    let cut_by_number = |fd: i32| {
        layout::change(fd, Change::Truncate(5000), || {
            kernel::libc_result(kernel::ftruncate(fd, 5000))
        })
    };
    let world = World::new();
    for how in ["another's number", "its own number", "name"] {
        let path = world.file(how, 8 << 20, 1);
        let (a, b) = (world.process(), world.process());
        let (buffered, other) = (a.open(&path, libc::O_RDWR), b.open(&path, libc::O_RDWR));
        let direct = b.open(&path, DIRECT);
        assert_eq!(write_page(b, direct, 0, 2).at_last(), PAGE as isize);
        // Looked at once, and then known to be there: such a write keeps nobody out elsewhere.
        for _ in 0..2 {
            let slow = Slow::begin(a, true, buffered, FAR);
            assert_eq!(write_page(b, direct, 0, 3).soon(), Some(PAGE as isize));
            assert_eq!(slow.end(), 1);
        }
        let cut = match how {
            "name" => b.enter(|| {
                let name = c_path(&path);
                layout::truncate_path(name.as_ptr(), || {
                    // SAFETY: a plain call.
                    unsafe { libc::truncate(name.as_ptr(), 5000) as isize }
                })
            }),
            "its own number" => a.enter(|| cut_by_number(buffered)),
            _ => b.enter(|| cut_by_number(other)),
        };
        assert_eq!(cut, 0);
        // Now it makes the file longer, and clears the rest of the page that the file ended in, through the cache.
        let slow = Slow::begin(a, true, buffered, FAR);
        let beside = write_page(b, direct, 0, 4);
        assert_eq!(beside.soon(), None, "cut off by {how}");
        assert_eq!(slow.end(), 1);
        assert_eq!(beside.at_last(), PAGE as isize);
    }
}
