//! The life of two processes: what one is told, gives up or forbids itself is not the other's.

use crate::life::{gate, rights};
use crate::what::descriptors;
use crate::who::owned::Process;
use crate::who::process::{self, Standing};
use crate::world::World;

#[test]
fn what_is_used_directly_is_known_before_rights_go() {
    let world = World::new();
    let path = world.file("file", 4096, 1);
    let (a, b) = (world.process(), world.process());
    let buffered = b.open(&path, libc::O_RDWR);
    let is_mixed = || {
        b.enter(|| {
            let pinned = descriptors::pin(buffered).unwrap();
            let mixed = pinned.file.is_mixed();
            pinned.unpin();
            mixed
        })
    };
    let direct = a.open(&path, libc::O_RDWR | libc::O_DIRECT);
    assert!(!is_mixed(), "nobody has looked at the number");
    a.enter(rights::before_losing);
    assert!(is_mixed());
    a.close(direct);
}

#[test]
fn what_a_program_was_told_to_leave_alone_is_its_own() {
    let (a, b) = (Process::new(), Process::new());
    let refused = |process: &'static Process| process.enter(|| gate::is_refused(277));
    assert!(a.enter(|| gate::take("277")));
    assert!(refused(a) && !refused(b));
}

#[test]
fn who_stops_fencing_stops_alone() {
    let world = World::new();
    let path = world.file("file", 4096, 1);
    let (a, b) = (world.process(), world.process());
    let other = b.open(&path, libc::O_RDWR);
    a.enter(process::stop_fencing);
    let standing = |process: &'static Process| process.enter(process::standing);
    assert!(standing(a) == Standing::Passing && standing(b) == Standing::Fenced);
    let is_pinned = |process: &'static Process, fd| {
        process.enter(|| descriptors::pin(fd).map(|p| p.unpin()).is_some())
    };
    assert!(is_pinned(b, other));
    assert!(a.enter(process::active).is_none());
}
