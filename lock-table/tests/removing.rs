//! Tables are looked at without a trace, and taken away only when nobody is in them.
#![cfg(not(any(loom, shuttle)))]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering::SeqCst;

use common::{Child, Dir, FILE, attach, claim, shared_words, sleep_ms, until};
use lock_table::{Fault, Mode, Table, USE_BUFFERED, USE_DIRECT, View};

#[test]
fn who_looks_leaves_no_trace_and_needs_no_right_to_write() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let slot = table.take_slot(7).unwrap();
    table.use_register(FILE, USE_BUFFERED | USE_DIRECT).unwrap();
    table.map_register(FILE, 0, 4095, true).unwrap();
    table
        .hold_now(slot, &claim(Mode::DirectWrite, 0, 8191))
        .unwrap();
    let file = dir.0.join("table");
    let before = fs::read(&file).unwrap();
    for mode in [0o444, 0o666] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let view = View::open(&path).unwrap();
        let seen = view.snapshot();
        assert_eq!(seen, table.snapshot());
        assert_eq!(seen.slots[0].process, seen.processes[0].index);
        view.check().unwrap();
    }
    assert_eq!(fs::read(&file).unwrap(), before);
    // One that everybody may write is for looking only.
    let refused = Table::inspect(&path).err().map(|e| e.fault());
    assert_eq!(refused, Some(Fault::OpenToAll { mode: 0o666 }));

    let view = View::open(&path).unwrap();
    let counted = |view: &View| view.counts()[0].announced;
    let first = counted(&view);
    for _ in 0..5 {
        table.release(slot);
        table
            .hold_now(slot, &claim(Mode::DirectRead, 0, 0))
            .unwrap();
    }
    assert_eq!(counted(&view), first + 5);
    fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .and_then(|file| file.set_len(8192))
        .unwrap();
    let cut = view.check().err().map(|e| e.fault());
    assert!(
        matches!(cut, Some(Fault::Truncated { is: 8192, .. })),
        "{cut:?}"
    );
    // The others of this program have their own tables: nobody touches this one any more.
}

#[test]
fn one_with_somebody_alive_in_it_stays() {
    let dir = Dir::new();
    let path = dir.make();
    let words = shared_words(1);
    let child = Child::run(|| {
        let Ok(table) = Table::attach(&path) else {
            return 1;
        };
        words[0].store(1, SeqCst);
        sleep_ms(60_000);
        i32::from(table.is_poisoned())
    });
    until("it is attached", || words[0].load(SeqCst) == 1);
    let refused = Table::remove(&path).err().map(|e| e.fault());
    assert_eq!(refused, Some(Fault::InUse));
    let looks = Table::inspect(&path).unwrap();
    assert!(looks.snapshot().processes[0].alive && !looks.is_poisoned());
    child.kill();
    Table::remove(&path).unwrap();
    assert!(looks.is_poisoned());
    let missing = Table::remove(&path).err().map(|e| e.fault());
    assert_eq!(missing, Some(Fault::Missing));
}

/// Whoever comes while one is removed again and again is in one that newcomers find, or is told that he is in none.
#[test]
fn nobody_is_left_behind_in_a_removed_one() {
    const ROUNDS: u64 = 60;
    let dir = Dir::new();
    let path = dir.table();
    let words = shared_words(2);
    let come = || {
        for _ in 0..ROUNDS {
            let inner = |_: ()| match Table::attach(&path) {
                Ok(table) => {
                    sleep_ms(3);
                    i32::from(table.was_removed()) * 2
                }
                // Eight times in a row.
                Err(error) if error.fault() == Fault::Replaced => 0,
                Err(error) => {
                    eprintln!("{error}");
                    3
                }
            };
            // SAFETY: the child calls nothing that another thread may have locked, and there is none.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: ends the child.
                unsafe { libc::_exit(inner(())) };
            }
            let mut status = 0;
            // SAFETY: waits for our child.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            if status != 0 {
                return if libc::WIFEXITED(status) {
                    libc::WEXITSTATUS(status)
                } else {
                    100 + libc::WTERMSIG(status)
                };
            }
            words[1].fetch_add(1, SeqCst);
            sleep_ms(7);
        }
        0
    };
    let children: Vec<_> = (0..3).map(|_| Child::run(come)).collect();
    let mut removed = 0;
    while words[1].load(SeqCst) < 3 * ROUNDS && removed < 100_000 {
        match Table::remove(&path) {
            Ok(()) => removed += 1,
            Err(e) => assert!(
                matches!(e.fault(), Fault::InUse | Fault::Missing | Fault::Replaced),
                "{e}"
            ),
        }
        if children.iter().any(|c| {
            // SAFETY: asks whether our child has ended, and leaves it to be waited for.
            unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let how = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
                libc::waitid(libc::P_PID, c.0 as libc::id_t, &mut info, how);
                info.si_pid() != 0 && info.si_status() != 0
            }
        }) {
            break;
        }
    }
    for child in children {
        assert_eq!(child.wait(), 0);
    }
    assert!(removed > 10, "{removed}");
}
