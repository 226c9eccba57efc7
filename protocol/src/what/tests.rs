//! What two processes know of numbers and files that they both use.

use std::sync::atomic::Ordering::Acquire;

use lock_table::USE_DIRECT;

use crate::calls::numbers;
use crate::what::descriptions::{self, Pinned};
use crate::what::{descriptors, files};
use crate::who::owned::Process;
use crate::world::World;

fn pinned(process: &'static Process, fd: i32) -> Pinned {
    process.enter(|| {
        let pinned = descriptors::pin(fd).unwrap();
        pinned.unpin(); // the number keeps it
        pinned
    })
}

fn is_shared(process: &'static Process, fd: i32) -> bool {
    process.enter(|| pinned(process, fd).description.is_shared())
}

#[test]
fn a_duplicate_shares_its_description_and_an_open_does_not() {
    let world = World::new();
    let path = world.file("file", 4096, 1);
    let a = world.process();
    let (one, other) = (a.open(&path, libc::O_RDWR), a.open(&path, libc::O_RDWR));
    // SAFETY: a plain call.
    let copy = a.enter(|| numbers::dup(one, || unsafe { libc::dup(one) }));
    assert_eq!(pinned(a, one).index, pinned(a, copy).index);
    assert_ne!(pinned(a, one).index, pinned(a, other).index);
    assert_eq!(pinned(a, one).file_index, pinned(a, other).file_index);
    a.close(one);
    assert_eq!(pinned(a, copy).file_index, pinned(a, other).file_index);
}

#[test]
fn descriptions_are_shared_from_a_fork_on_and_those_opened_later_are_not() {
    let world = World::new();
    let path = world.file("file", 4096, 1);
    let (a, b) = (world.process(), world.process());
    let [before, also_before] = [(); 2].map(|()| a.open(&path, libc::O_RDWR));
    let of_b = b.open(&path, libc::O_RDWR);
    assert!(!is_shared(a, before) && !is_shared(b, of_b));
    a.enter(descriptions::all_shared);
    let after = a.open(&path, libc::O_RDWR);
    assert!(is_shared(a, before), "looked at before");
    assert!(is_shared(a, also_before), "looked at afterwards");
    assert!(!is_shared(a, after) && !is_shared(b, of_b));
    // What came from elsewhere may be anybody's.
    let unseen = std::fs::File::open(&path).unwrap();
    assert!(is_shared(a, std::os::fd::AsRawFd::as_raw_fd(&unseen)));
}

#[test]
fn a_file_is_mixed_while_two_use_it_in_two_modes() {
    let world = World::new();
    let (path, alone) = (world.file("file", 4096, 1), world.file("alone", 4096, 1));
    let (a, b) = (world.process(), world.process());
    let (direct, of_a) = (
        a.open(&path, libc::O_RDWR | libc::O_DIRECT),
        a.open(&alone, libc::O_RDWR),
    );
    let is_mixed =
        |process: &'static Process, fd| process.enter(|| pinned(process, fd).file.is_mixed());
    let locks = |process: &'static Process, fd| process.enter(|| pinned(process, fd).file.locks());
    assert!(locks(a, direct) && !is_mixed(a, direct) && !locks(a, of_a));
    let of_b = b.open(&path, libc::O_RDONLY);
    assert!(is_mixed(b, of_b) && locks(b, of_b));
    assert!(is_mixed(a, direct), "the first learns it, too");
    assert!(!locks(a, of_a), "it is about one file");
    assert_eq!(
        pinned(a, direct).file.bits.load(Acquire) & USE_DIRECT,
        USE_DIRECT
    );
    assert_eq!(
        pinned(b, of_b).file.bits.load(Acquire) & USE_DIRECT,
        0,
        "it is its own use"
    );
}

#[test]
fn the_last_close_ends_a_record_and_only_the_process_s_own() {
    let world = World::new();
    let path = world.file("file", 4096, 1);
    let (a, b) = (world.process(), world.process());
    let (one, other) = (a.open(&path, libc::O_RDWR), a.open(&path, libc::O_RDWR));
    let of_b = b.open(&path, libc::O_RDWR);
    let id = pinned(a, one).file.id();
    assert_eq!(
        (pinned(a, other).file.id(), pinned(b, of_b).file.id()),
        (id, id)
    );
    let knows = |process: &'static Process| process.enter(|| files::find(id).is_some());
    a.close(one);
    assert!(knows(a));
    a.close(other);
    assert!(!knows(a) && knows(b));
    b.close(of_b);
    assert!(!knows(b));
}

#[test]
fn a_policy_is_its_process_s() {
    let world = World::new();
    let path = world.file("file", 4096, 1);
    let left_out = format!(
        "[[rule]]\npath = [\"{}/**\"]\nmode = \"off\"",
        path.parent().unwrap().display()
    );
    let (a, b) = (world.process_by(&left_out), world.process());
    let (one, other) = (a.open(&path, libc::O_RDWR), b.open(&path, libc::O_RDWR));
    assert!(a.enter(|| descriptors::pin(one).is_none()));
    assert_eq!(
        pinned(b, other).file.id().ino,
        std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap())
    );
}
