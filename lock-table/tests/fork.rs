//! Forked children: a process of their own, with nothing of their parent's.

mod common;

use common::*;
use lock_table::{Fault, Mine, Mode, NotHeld, USE_BUFFERED};
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
        if table.hold(idle, &c, &Mine::NONE, None, &mut || false) != Err(NotHeld::NotOurs) {
            return 6;
        }
        let Some(own) = table.take_slot(1) else {
            return 3;
        };
        if own == s {
            return 4;
        }
        words[0].store(1, SeqCst);
        match table.hold(own, &c, &Mine::NONE, in_ms(100), &mut || false) {
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

/// Gives root up, in a child. False: it can't.
fn give_up_root() -> bool {
    // SAFETY: concerns this process alone.
    unsafe { libc::setuid(12345) == 0 }
}

fn is_root() -> bool {
    // SAFETY: asks.
    let root = unsafe { libc::geteuid() == 0 };
    if !root {
        skip("giving up root needs root");
    }
    root
}

/// Children of one that may not open the table any more lock for themselves. Two of them, and a grandchild, are three
/// processes; each sees who lives, and the parent sees when one is killed.
#[test]
fn children_that_may_not_open_the_table_are_registered() {
    if !is_root() {
        return;
    }
    let dir = Dir::new();
    let table = attach(&dir.make());
    let words = shared_words(4);
    let stand = |n: usize| {
        let Some(slot) = table.take_slot(1) else {
            return 3;
        };
        let at = (n as u64) << 23;
        if table.hold_now(slot, &claim(Mode::Layout, at, at)).is_err() {
            return 4;
        }
        words[n].store(1, SeqCst);
        loop {
            sleep_ms(1000);
        }
    };
    let child = |n: usize, grandchild: bool| {
        Child::run(move || {
            if !give_up_root() || table.reattach_in_child().is_err() {
                return 2;
            }
            // SAFETY: this process has one thread.
            if grandchild && unsafe { libc::fork() } == 0 {
                // SAFETY: concerns this process alone.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                return match table.reattach_in_child() {
                    Ok(()) => stand(n + 1),
                    Err(_) => 5,
                };
            }
            stand(n)
        })
    };
    let (first, second) = (child(0, false), child(1, true));
    for word in &words[..3] {
        until("they are there", || word.load(SeqCst) == 1);
    }
    let all = table.snapshot();
    assert_eq!((all.processes.len(), all.slots.len()), (4, 3), "{all:?}");
    assert!(all.processes.iter().all(|p| p.alive));
    // One of them sees the same, and cleans up after another that was killed.
    first.kill();
    let third = Child::run(|| {
        if !give_up_root() || table.reattach_in_child().is_err() {
            return 2;
        }
        let dead = table
            .snapshot()
            .processes
            .iter()
            .filter(|p| !p.alive)
            .count();
        if dead > 1 {
            return 3;
        }
        table.reap();
        let left = table.snapshot();
        let alive = left.processes.iter().all(|p| p.alive);
        i32::from(!(alive && left.processes.len() == 4 && left.slots.len() == 2))
    });
    assert_eq!(third.wait(), 0);
    // What a killed one held is free for who waits.
    second.kill();
    let slot = table.take_slot(1).unwrap();
    for n in 1..3 {
        let c = claim(Mode::Layout, n << 23, n << 23);
        table
            .hold(slot, &c, &Mine::NONE, in_ms(2000), &mut no())
            .unwrap();
        table.release(slot);
    }
    table.reap();
    assert_eq!(table.snapshot().processes.len(), 1);
    assert!(!table.is_poisoned());
}

/// The lock goes at exec, although the process lives on.
#[test]
fn one_that_locks_for_itself_is_gone_at_exec() {
    if !is_root() {
        return;
    }
    let dir = Dir::new();
    let table = attach(&dir.make());
    let word = &shared_words(1)[0];
    let child = Child::run(|| {
        if !give_up_root() || table.reattach_in_child().is_err() {
            return 2;
        }
        word.store(1, SeqCst);
        while word.load(SeqCst) == 1 {
            sleep_ms(1);
        }
        // SAFETY: plain strings and a null.
        unsafe { libc::execl(c"/bin/sleep".as_ptr(), c"sleep".as_ptr(), c"20".as_ptr(), 0) };
        3
    });
    until("it is there", || word.load(SeqCst) == 1);
    assert!(table.snapshot().processes.iter().all(|p| p.alive));
    word.store(2, SeqCst);
    until("it is gone", || table.reap().processes == 1);
    child.kill();
}

/// Its probe moves, and the old number is closed, and with it all its locks: taken again, or it is told.
#[test]
fn one_that_locks_for_itself_lives_on_when_its_probe_has_moved() {
    if !is_root() {
        return;
    }
    let dir = Dir::new();
    let table = attach(&dir.make());
    let child = Child::run(|| {
        if !give_up_root() || table.reattach_in_child().is_err() {
            return 2;
        }
        let lives = |words: &std::sync::atomic::AtomicU64| {
            // Asked by a child: to oneself one always lives.
            // SAFETY: this process has one thread.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let dead = table.reattach_in_child().is_err() || table.reap().processes != 0;
                words.store(if dead { 2 } else { 1 }, SeqCst);
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) };
            }
            Child(pid).wait();
            words.load(SeqCst) == 1
        };
        let words = shared_words(1);
        let from = table.probe_fd();
        table.set_probe_fd(kernel::high::raise_copy(from, 0, &mut |_| true).unwrap_or(-1));
        // SAFETY: the old number is ours to close.
        unsafe { libc::close(from) };
        if !table.relive() || !lives(&words[0]) {
            return 3;
        }
        // Once more, and somebody is quicker.
        let from = table.probe_fd();
        table.set_probe_fd(kernel::high::raise_copy(from, 0, &mut |_| true).unwrap_or(-1));
        // SAFETY: as above.
        unsafe { libc::close(from) };
        if lives(&words[0]) || table.relive() {
            return 4;
        }
        i32::from(table.take_slot(1).is_some())
    });
    assert_eq!(child.wait(), 0);
    table.reap();
    assert_eq!(table.snapshot().processes.len(), 1);
}

#[test]
fn a_child_that_may_not_open_the_table_and_has_no_probe_is_told() {
    if !is_root() {
        return;
    }
    let dir = Dir::new();
    let table = attach(&dir.make());
    let child = Child::run(|| {
        // SAFETY: closes a number.
        unsafe { libc::close(table.probe_fd()) };
        if !give_up_root() {
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
