//! Forked children: a process of their own, with nothing of their parent's.

mod common;

use common::*;
use lock_table::{Fault, Mode, NotHeld, USE_BUFFERED};
use std::os::fd::RawFd;
use std::sync::atomic::Ordering::SeqCst;

fn description_is_shared(a: RawFd, pid: i32, b: RawFd) -> bool {
    // SAFETY: compares two descriptors, KCMP_FILE.
    unsafe { libc::syscall(libc::SYS_kcmp, libc::getpid(), pid, 0, a, b) == 0 }
}

#[test]
fn a_child_registers_anew() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let s = table.take_slot(1).unwrap();
    let c = claim(Mode::Layout, 0, 10);
    table.hold_now(s, &c).unwrap();
    let mapping = table.map_register(FILE, 0, 10, true).unwrap();
    let used = table.use_register(FILE, USE_BUFFERED).unwrap().0;
    let idle = table.take_slot(1).unwrap();
    let probe = table.probe_fd();
    let words = shared_words(2);
    let child = Child::run(|| {
        if table.reattach_in_child().is_err() {
            return 1;
        }
        // SAFETY: asks for the flags of a descriptor.
        if unsafe { libc::fcntl(table.probe_fd(), libc::F_GETFD) } != libc::FD_CLOEXEC {
            return 2;
        }
        // The parent's things are not the child's to give away.
        table.give_slot(s);
        table.map_forget(mapping);
        table.use_forget(used);
        // Nor to announce in.
        table.announce(idle, &c);
        if table.hold(idle, &c, &[], None, &mut || false) != Err(NotHeld::NotOurs) {
            return 6;
        }
        let Some(own) = table.take_slot(1) else {
            return 3;
        };
        if own == s {
            return 4;
        }
        words[0].store(1, SeqCst);
        match table.hold(own, &c, &[], in_ms(100), &mut || false) {
            Err(NotHeld::TimedOut(b)) if b.slot == s => {}
            _ => return 5,
        }
        while words[1].load(SeqCst) == 0 {
            sleep_ms(1);
        }
        0
    });
    until("the child is there", || words[0].load(SeqCst) == 1);
    assert!(
        !description_is_shared(probe, child.0, probe),
        "the child still has the parent's probe"
    );
    let both = table.snapshot();
    assert_eq!(both.processes.len(), 2);
    assert!(both.processes.iter().all(|p| p.alive));
    assert_eq!(
        both.processes
            .iter()
            .filter(|p| p.owner.pid == child.0 as u32)
            .count(),
        1
    );
    words[1].store(1, SeqCst);
    assert_eq!(child.wait(), 0);
    assert!(!table.is_poisoned());
    assert_eq!(table.reap().processes, 1);
    let left = table.snapshot();
    assert_eq!(
        (
            left.processes.len(),
            left.slots.len(),
            left.mappings.len(),
            left.uses.len()
        ),
        (1, 1, 1, 1)
    );
}

#[test]
fn a_child_that_does_not_find_the_path_registers_through_the_descriptor() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let child = Child::run(|| {
        // The path is gone, /proc is not.
        // SAFETY: unlinks the test's own table.
        unsafe { libc::unlink(dir.table().as_ptr()) };
        match table.reattach_in_child() {
            Ok(()) => i32::from(table.take_slot(1).is_none()),
            Err(_) => 2,
        }
    });
    assert_eq!(child.wait(), 0);
}

#[test]
fn a_child_that_may_not_open_the_table_is_told() {
    let dir = Dir::new();
    let table = attach(&dir.make());
    let child = Child::run(|| {
        // SAFETY: gives root up, in the child.
        if unsafe { libc::setuid(12345) } != 0 {
            return 2;
        }
        match table.reattach_in_child() {
            Err(e) if e.fault() == Fault::Permission => {}
            _ => return 3,
        }
        i32::from(table.take_slot(1).is_some() || table.probe_fd() != -1)
    });
    assert_eq!(child.wait(), 0);
    assert_eq!(table.snapshot().processes.len(), 1);
}
