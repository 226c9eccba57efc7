//! Processes that mean different things by the same number: across PID namespaces, and where a number is used again.

mod common;

use common::*;
use lock_table::{Claim, Mine, Mode, NotHeld, Table};
use std::io::Error;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// As root a PID namespace; otherwise in a user namespace, where the kernel lets everybody have one.
fn namespaces() -> i32 {
    // SAFETY: asks.
    if unsafe { libc::geteuid() } == 0 {
        libc::CLONE_NEWPID
    } else {
        libc::CLONE_NEWPID | libc::CLONE_NEWUSER
    }
}

/// A child that is number 1 of a PID namespace of its own. `None`: not here.
fn in_a_namespace(body: impl FnOnce() -> i32) -> Option<Child> {
    let child = Child::made_by(body, || {
        // SAFETY: without a stack of its own it is a fork.
        unsafe { libc::syscall(libc::SYS_clone, namespaces() | libc::SIGCHLD, 0, 0, 0, 0) as i32 }
    });
    if child.0 < 0 {
        skip(&format!("PID namespaces: {}", Error::last_os_error()));
        return None;
    }
    Some(child)
}

/// Forks within the child's namespace, with this number. As `fork`; negative if it can't be.
fn fork_with_number(number: i32) -> i32 {
    // SAFETY: all zeros is a clone_args; without a stack it is a fork.
    unsafe {
        let mut how: libc::clone_args = std::mem::zeroed();
        how.exit_signal = libc::SIGCHLD as u64;
        how.set_tid = (&raw const number) as u64;
        how.set_tid_size = 1;
        let size = size_of::<libc::clone_args>();
        libc::syscall(libc::SYS_clone3, &raw const how, size) as i32
    }
}

fn wait_for(word: &AtomicU64, value: u64) {
    while word.load(SeqCst) != value {
        sleep_ms(1);
    }
}

fn stand() -> ! {
    loop {
        sleep_ms(1000);
    }
}

const HERE: u64 = 1;
const GO_ON: u64 = 2;
const DONE: u64 = 3;

/// Each side waits for the other, each reaps the other's dead.
#[test]
fn namespaces_share_a_table() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let word = &shared_words(1)[0];
    let (theirs, ours) = (claim(Mode::Layout, 0, 10), claim(Mode::Layout, 8192, 8192));
    let child = in_a_namespace(|| {
        let Ok(t) = Table::attach(&path) else {
            return 2;
        };
        let (Some(a), Some(b)) = (t.take_slot(1), t.take_slot(1)) else {
            return 3;
        };
        if t.hold_now(a, &theirs).is_err() {
            return 4;
        }
        word.store(HERE, SeqCst);
        wait_for(word, GO_ON);
        // What was held outside is the child's only now that its holder is dead, whose number says nothing in here.
        if t.hold(b, &ours, &Mine::NONE, in_ms(1000), &mut no())
            .is_err()
        {
            return 5;
        }
        word.store(DONE, SeqCst);
        stand()
    });
    let Some(child) = child else { return };
    until("the child holds", || word.load(SeqCst) == HERE);
    let outside = Child::run(|| {
        let Ok(t) = Table::attach(&path) else {
            return 2;
        };
        let Some(s) = t.take_slot(1) else { return 3 };
        // Within the child's reach when it goes on, which is after this one's death.
        i32::from(t.hold_now(s, &ours).is_err())
    });
    assert_eq!(outside.wait(), 0);
    let s = table.take_slot(1).unwrap();
    let held = table.hold(s, &theirs, &Mine::NONE, in_ms(200), &mut no());
    let Err(NotHeld::TimedOut(blocker)) = held else {
        panic!("{held:?}");
    };
    assert_eq!(blocker.owner.pid, 1, "its number, where it lives");
    assert_eq!(table.snapshot().slots.len(), 2);
    word.store(GO_ON, SeqCst);
    until("the child reaps", || word.load(SeqCst) == DONE);
    assert_eq!(table.snapshot().processes.len(), 2);
    child.kill();
    table
        .hold(s, &theirs, &Mine::NONE, in_ms(1000), &mut no())
        .unwrap();
    assert_eq!(table.snapshot().processes.len(), 1);
}

/// One holds a claim and is killed; another is made with the same number and holds another claim.
fn use_a_number_twice(table: &Table, word: &AtomicU64, claims: &[Claim; 2]) -> i32 {
    const NUMBER: i32 = 77;
    for (turn, c) in (0u64..).zip(claims) {
        let pid = fork_with_number(NUMBER);
        if pid == 0 {
            // Not `attach`, which reaps: the dead one is to be there still.
            if table.reattach_in_child().is_err() {
                return 4;
            }
            let Some(s) = table.take_slot(1) else {
                return 5;
            };
            if table.hold_now(s, c).is_err() {
                return 6;
            }
            word.store(turn + 1, SeqCst);
            stand();
        }
        if pid != NUMBER {
            return 3;
        }
        wait_for(word, turn + 1);
        if turn == 0 {
            // SAFETY: our child.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, std::ptr::null_mut(), 0);
            }
        }
    }
    stand()
}

#[test]
fn a_number_that_is_used_again_is_another_process() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let word = &shared_words(1)[0];
    let claims = [
        claim(Mode::DirectWrite, 0, 10),
        claim(Mode::DirectWrite, 8192, 8192),
    ];
    let child = in_a_namespace(|| match Table::attach(&path) {
        Ok(t) => use_a_number_twice(&t, word, &claims),
        Err(_) => 2,
    });
    let Some(child) = child else { return };
    until("the second one holds", || word.load(SeqCst) == 2);
    let both = table.snapshot();
    let of_number = both.processes.iter().filter(|p| p.owner.pid == 77);
    let alive: Vec<_> = of_number.map(|p| p.alive).collect();
    assert!(alive == [true, false] || alive == [false, true], "{both:?}");
    let s = table.take_slot(1).unwrap();
    let held = table.hold(s, &claims[0], &Mine::NONE, in_ms(1000), &mut no());
    assert_eq!(held.unwrap().first_blocker.unwrap().owner.pid, 77);
    table.release(s);
    let held = table.hold(s, &claims[1], &Mine::NONE, in_ms(200), &mut no());
    assert!(matches!(held, Err(NotHeld::TimedOut(b)) if b.owner.pid == 77));
    let now = table.snapshot();
    assert_eq!((now.slots.len(), now.unverified.len()), (1, 1));
    // The first process of a namespace takes all others with it.
    child.kill();
    table
        .hold(s, &claims[1], &Mine::NONE, in_ms(1000), &mut no())
        .unwrap();
}
