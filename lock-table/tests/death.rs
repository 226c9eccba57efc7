//! Processes that die at the worst moment, and forks that must not keep the dead alive.

mod common;

use common::*;
use lock_table::{Mine, Mode, NotHeld, Table, USE_DIRECT};
use std::ffi::CStr;
use std::sync::atomic::Ordering::SeqCst;

/// A child that attaches, does something, and then stands still until it is killed.
fn standing(path: &CStr, act: impl FnOnce(&Table)) -> Child {
    let words = shared_words(1);
    let child = Child::run(|| {
        let Ok(table) = Table::attach(path) else {
            return 2;
        };
        act(&table);
        words[0].store(1, SeqCst);
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    });
    until("the child stands", || words[0].load(SeqCst) == 1);
    child
}

#[test]
fn a_killed_holder_is_reaped_by_whoever_waits() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let victim = standing(&path, |t| {
        let s = t.take_slot(1).unwrap();
        t.hold_now(s, &claim(Mode::DirectWrite, 8192, 12287))
            .unwrap();
        t.map_register(FILE, 0, 4095, true).unwrap();
        t.use_register(FILE, USE_DIRECT).unwrap();
    });
    let pid = victim.0 as u32;
    let s = table.take_slot(9).unwrap();
    let c = claim(Mode::BufferedRead, 0, u64::MAX);
    let in_the_way = table.hold_now(s, &c).unwrap_err();
    let in_the_way = *in_the_way.blocker().unwrap();
    assert_eq!((in_the_way.owner.pid, in_the_way.thread), (pid, 1));
    assert!(table.mapped_writable(FILE, 1 << 20, 1 << 20).is_some());
    assert!(
        matches!(table.hold(s, &c, &Mine::NONE, in_ms(150), &mut no()), Err(NotHeld::TimedOut(b)) if b == in_the_way)
    );
    victim.kill();
    let held = table
        .hold(s, &c, &Mine::NONE, in_ms(2000), &mut no())
        .unwrap();
    assert_eq!(held.first_blocker.map(|b| b.owner.pid), Some(pid));
    assert!(held.waited_ns < 500_000_000, "{} ns", held.waited_ns);
    // All else it left is gone with it, and its write is remembered as unverified.
    assert_eq!(table.mapped_writable(FILE, 1 << 20, 1 << 20), None);
    let left = table.snapshot();
    assert_eq!(
        (left.processes.len(), left.slots.len(), left.uses.len()),
        (1, 1, 0)
    );
    let mut ranges = Vec::new();
    table.unverified(FILE, &mut |first, last| ranges.push((first, last)));
    assert_eq!(ranges, [(8192, 12287)]);
    table.verified(FILE, 8192, 12286);
    assert_eq!(table.snapshot().unverified.len(), 1);
    table.verified(FILE, 0, u64::MAX);
    assert_eq!(table.snapshot().unverified.len(), 0);
    table.give_slot(s);
}

#[test]
fn a_killed_waiter_loses_its_place() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let s = table.take_slot(1).unwrap();
    table.hold_now(s, &claim(Mode::Layout, 0, 4095)).unwrap();
    let victim = standing_waiter(&path, claim(Mode::Layout, 0, 8191));
    until("the child waits", || table.snapshot().slots.len() == 2);
    victim.kill();
    // A third that conflicts with the dead waiter alone.
    let other = table.take_slot(2).unwrap();
    let held = table
        .hold(
            other,
            &claim(Mode::Layout, 4096, 8191),
            &Mine::NONE,
            in_ms(2000),
            &mut no(),
        )
        .unwrap();
    assert!(held.waited_ns > 0);
    assert_eq!(table.snapshot().unverified.len(), 0);
}

fn standing_waiter(path: &CStr, c: lock_table::Claim) -> Child {
    Child::run(|| {
        let Ok(table) = Table::attach(path) else {
            return 2;
        };
        let Some(s) = table.take_slot(1) else {
            return 3;
        };
        i32::from(table.hold(s, &c, &Mine::NONE, None, &mut || false).is_err())
    })
}

#[test]
fn a_forked_child_does_not_keep_its_dead_parent_alive() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let words = shared_words(2);
    let victim = Child::run(|| {
        let Ok(t) = Table::attach(&path) else {
            return 2;
        };
        let Some(s) = t.take_slot(1) else { return 3 };
        if t.hold_now(s, &claim(Mode::Layout, 0, 10)).is_err() {
            return 4;
        }
        // SAFETY: a single-threaded process.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // Lives on for a while without a word to the table.
            words[1].store(u64::from(std::process::id()), SeqCst);
            sleep_ms(1500);
            return 0;
        }
        words[0].store(1, SeqCst);
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    });
    until("both stand", || {
        words[0].load(SeqCst) == 1 && words[1].load(SeqCst) != 0
    });
    victim.kill();
    let s = table.take_slot(2).unwrap();
    table
        .hold(
            s,
            &claim(Mode::Layout, 0, 10),
            &Mine::NONE,
            in_ms(1000),
            &mut no(),
        )
        .unwrap();
    // SAFETY: only asks whether the grandchild is still there.
    assert_eq!(
        unsafe { libc::kill(words[1].load(SeqCst) as i32, 0) },
        0,
        "the grandchild outlives this test's point"
    );
}

#[test]
fn a_holder_dies_while_another_process_forks() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let s = table.take_slot(1).unwrap();
    let words = shared_words(1);
    // Forks all the time, each child registering anew.
    let forker = Child::run(|| {
        let Ok(t) = Table::attach(&path) else {
            return 2;
        };
        while words[0].load(SeqCst) == 0 {
            // SAFETY: a single-threaded process.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let fine = t.reattach_in_child().is_ok();
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(!fine)) };
            }
            let mut status = 0;
            // SAFETY: waits for our child.
            unsafe { libc::waitpid(child, &mut status, 0) };
            if status != 0 {
                return 3;
            }
        }
        0
    });
    for round in 0..20 {
        let c = claim(Mode::DirectWrite, round * 4096, round * 4096);
        let victim = standing(&path, |t| {
            let s = t.take_slot(1).unwrap();
            t.hold_now(s, &c).unwrap();
        });
        victim.kill();
        table
            .hold(s, &c, &Mine::NONE, in_ms(2000), &mut no())
            .unwrap();
        table.release(s);
    }
    words[0].store(1, SeqCst);
    assert_eq!(forker.wait(), 0);
    assert!(!table.is_poisoned());
}

#[test]
fn exec_lets_go() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let child = Child::run(|| {
        let Ok(t) = Table::attach(&path) else {
            return 2;
        };
        let Some(s) = t.take_slot(1) else { return 3 };
        if t.hold_now(s, &claim(Mode::Layout, 0, 10)).is_err() {
            return 4;
        }
        let argv = [c"sleep".as_ptr(), c"3".as_ptr(), std::ptr::null()];
        // SAFETY: a terminated argument list.
        unsafe { libc::execv(c"/bin/sleep".as_ptr(), argv.as_ptr()) };
        5
    });
    until("the child holds", || !table.snapshot().slots.is_empty());
    let s = table.take_slot(2).unwrap();
    table
        .hold(
            s,
            &claim(Mode::Layout, 0, 10),
            &Mine::NONE,
            in_ms(2000),
            &mut no(),
        )
        .unwrap();
    child.kill();
}

/// Nobody takes the stopped for dead: who waits for one is told his name, and when he goes on it goes on.
#[test]
fn a_stopped_process_lives() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let words = shared_words(2);
    let c = claim(Mode::Layout, 0, 10);
    let holder = Child::run(|| {
        let Ok(t) = Table::attach(&path) else {
            return 2;
        };
        let Some(s) = t.take_slot(1) else { return 3 };
        if t.hold_now(s, &c).is_err() {
            return 4;
        }
        words[0].store(1, SeqCst);
        while words[1].load(SeqCst) == 0 {
            sleep_ms(1);
        }
        t.release(s);
        0
    });
    until("the child holds", || words[0].load(SeqCst) == 1);
    holder.signal(libc::SIGSTOP);
    words[1].store(1, SeqCst);
    let s = table.take_slot(2).unwrap();
    let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    for _ in 0..2 {
        let Err(NotHeld::TimedOut(b)) = table.hold(s, &c, &Mine::NONE, in_ms(300), &mut no())
        else {
            panic!("nobody was in the way");
        };
        assert_eq!((b.owner.pid, b.thread, b.claim), (holder.0 as u32, 1, c));
        let comm = CStr::from_bytes_until_nul(&b.owner.comm).unwrap();
        assert_eq!(comm.to_str(), Ok(name.trim_end()));
        assert_eq!(table.reap(), Default::default());
    }
    holder.signal(libc::SIGCONT);
    table
        .hold(s, &c, &Mine::NONE, in_ms(1000), &mut no())
        .unwrap();
    assert_eq!(holder.wait(), 0);
    assert_eq!(table.snapshot().unverified.len(), 0);
}

#[test]
fn a_process_killed_while_stopped_is_dead() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let holder = standing(&path, |t| {
        let s = t.take_slot(1).unwrap();
        t.hold_now(s, &claim(Mode::Layout, 0, 10)).unwrap();
    });
    holder.signal(libc::SIGSTOP);
    assert_eq!(table.reap(), Default::default());
    holder.kill();
    assert_eq!(table.reap().slots, 1);
}

/// A waiter that is stopped says for a while that it waits for what has long been let go: no reason for another to
/// give up.
#[test]
fn a_stopped_waiter_makes_no_deadlock() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(1).unwrap());
    let c = claim(Mode::Layout, 0, 10);
    // What comes to stand in the slot that the stopped one waits for: the same, behind it in the queue; or something
    // else, while the thread waits with another slot.
    for elsewhere in [None, Some(claim(Mode::Layout, 1 << 30, 1 << 30))] {
        table.hold_now(a, &c).unwrap();
        let waiter = standing_waiter(&path, c);
        until("the child sleeps", || {
            let slots = table.snapshot().slots;
            slots.iter().any(|s| s.waiting_on == Some(a.index()))
        });
        sleep_ms(20);
        waiter.signal(libc::SIGSTOP);
        table.release(a);
        let mut mine = vec![];
        let mut with = a;
        if let Some(other) = &elsewhere {
            table.hold_now(a, other).unwrap();
            mine.push(a);
            with = b;
        }
        let held = table.hold(with, &c, &Mine::of(&mine), in_ms(2500), &mut no());
        assert!(matches!(held, Err(NotHeld::TimedOut(_))), "{held:?}");
        table.release(a);
        waiter.kill();
        table.reap();
    }
}

/// The program closes our probe and opens something else there: nobody may seem dead.
#[test]
fn a_stolen_probe_reaps_nobody() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let thief = attach(&path);
    let s = table.take_slot(1).unwrap();
    table.hold_now(s, &claim(Mode::Layout, 0, 10)).unwrap();
    let kept = thief.probe_fd();
    let other = std::fs::File::create(dir.0.join("other")).unwrap();
    thief.set_probe_fd(std::os::fd::AsRawFd::as_raw_fd(&other));
    assert_eq!(thief.reap(), Default::default());
    let mine = thief.take_slot(2).unwrap();
    assert!(matches!(
        thief.hold(
            mine,
            &claim(Mode::Layout, 0, 10),
            &Mine::NONE,
            in_ms(100),
            &mut no()
        ),
        Err(NotHeld::TimedOut(_))
    ));
    thief.set_probe_fd(kept);
    assert_eq!(table.snapshot().processes.len(), 2);
}
