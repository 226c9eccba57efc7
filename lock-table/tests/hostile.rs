//! Tables that are not what they should be: a clear error or a table that says it is broken, in bounded time. What is
//! known by name stands here; what chance brings, in `fuzz`.

mod common;

use common::*;
use lock_table::{Fault, Geometry, Mine, Mode, NotHeld, Table};
use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

/// Attaching must fail like this, quickly, with one line that names the file and a way out.
fn refused(path: &CStr, why: Fault) {
    let _held = fork_lock();
    let start = Instant::now();
    let error = match Table::attach(path) {
        Ok(_) => panic!("attached to {path:?} in spite of {why:?}"),
        Err(e) => e,
    };
    assert!(start.elapsed().as_secs() < 5);
    assert_eq!(error.fault(), why);
    let line = error.to_string();
    assert!(line.contains(path.to_str().unwrap()), "{line}");
    let ways = ["rm ", "--table", "mkdir", "chmod", "try again"];
    assert!(
        !line.contains('\n') && ways.iter().any(|w| line.contains(w)),
        "{line}"
    );
}

#[test]
fn what_is_no_table_is_refused() {
    let dir = Dir::new();
    let at = |name: &str| c_path(&dir.0.join(name));
    let put = |name: &str, bytes: &[u8]| {
        fs::write(dir.0.join(name), bytes).unwrap();
        at(name)
    };
    refused(&at("no/such/table"), Fault::NoDirectory);
    refused(&put("empty", b""), Fault::Empty);
    refused(&put("text", b"hello"), Fault::NotATable);
    refused(&put("zeros", &[0; 8192]), Fault::NotATable);
    symlink(dir.0.join("target"), dir.0.join("link")).unwrap();
    refused(&at("link"), Fault::SymbolicLink);
    fs::create_dir(dir.0.join("dir")).unwrap();
    refused(&at("dir"), Fault::NotRegular);
    // SAFETY: makes a pipe with a name; nobody writes it, and opening it must not wait.
    assert_eq!(unsafe { libc::mkfifo(at("pipe").as_ptr(), 0o600) }, 0);
    refused(&at("pipe"), Fault::NotRegular);
    let long = dir.0.join("a/".repeat(600));
    let held = fork_lock();
    assert_eq!(
        Table::attach(&c_path(&long)).err().map(|e| e.fault()),
        Some(Fault::PathTooLong)
    );
    drop(held);
}

fn length_of_the_default() -> u64 {
    let dir = Dir::new();
    Table::create(&dir.table(), &Geometry::default()).unwrap();
    fs::metadata(dir.0.join("table")).unwrap().len()
}

#[test]
fn a_damaged_table_is_refused() {
    let dir = Dir::new();
    let path = dir.make();
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(dir.0.join("table"))
        .unwrap();
    let size = file.metadata().unwrap().len();
    let mut header = [0; 4096];
    file.read_exact_at(&mut header, 0).unwrap();
    let with = |at: u64, word: u32, why: Fault| {
        file.write_all_at(&word.to_ne_bytes(), at).unwrap();
        refused(&path, why);
        file.write_all_at(&header, 0).unwrap();
    };
    with(
        8,
        99,
        Fault::OtherVersion {
            is: 99,
            should: lock_table::VERSION,
        },
    );
    with(12, 0, Fault::BadGeometry);
    with(16, u32::MAX, Fault::BadGeometry);
    // Possible, but not what the table was made with: also where the file would be as long.
    with(20, 64 + 512, Fault::BadGeometry);
    with(24, 129, Fault::BadGeometry);
    with(0, 0, Fault::NotATable);
    file.set_len(size - 4096).unwrap();
    refused(
        &path,
        Fault::Truncated {
            is: size - 4096,
            should: size,
        },
    );
    file.set_len(100).unwrap();
    let should = length_of_the_default();
    refused(&path, Fault::Truncated { is: 100, should });
    file.set_len(size).unwrap();
    file.write_all_at(&header, 0).unwrap();
    attach(&path);
}

#[test]
fn another_user_s_table_is_refused() {
    let dir = Dir::new();
    let path = dir.make();
    fs::set_permissions(dir.0.join("table"), fs::Permissions::from_mode(0o666)).unwrap();
    refused(&path, Fault::OpenToAll { mode: 0o666 });
    fs::set_permissions(dir.0.join("table"), fs::Permissions::from_mode(0o600)).unwrap();
    chown(dir.0.join("table"), Some(12345), None).unwrap();
    refused(&path, Fault::WrongOwner { uid: 12345 });
    // A user who is not root may not open root's.
    chown(dir.0.join("table"), Some(0), None).unwrap();
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o777)).unwrap();
    let child = Child::run(|| {
        // SAFETY: gives root up, in the child.
        if unsafe { libc::setuid(12345) } != 0 {
            return 2;
        }
        match Table::attach(&path).err().map(|e| e.fault()) {
            Some(Fault::Permission) => 0,
            _ => 1,
        }
    });
    assert_eq!(child.wait(), 0);
}

#[test]
fn a_group_s_table_is_shared_within_the_group() {
    let dir = Dir::new();
    chown(&dir.0, Some(0), Some(4321)).unwrap();
    // SAFETY: sets the mode, set-group-ID included.
    assert_eq!(unsafe { libc::chmod(c_path(&dir.0).as_ptr(), 0o2770) }, 0);
    let member = |uid: u32| {
        let path = dir.table();
        Child::run(move || {
            // SAFETY: becomes a member of the group, in the child.
            if unsafe {
                libc::setgid(4321) | libc::setgroups(0, std::ptr::null()) | libc::setuid(uid)
            } != 0
            {
                return 2;
            }
            match Table::attach(&path) {
                Ok(t) => i32::from(t.take_slot(1).is_none()),
                Err(_) => 3,
            }
        })
    };
    assert_eq!(member(1001).wait(), 0);
    assert_eq!(
        fs::metadata(dir.0.join("table"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o660
    );
    assert_eq!(member(1002).wait(), 0);
}

#[test]
fn a_full_filesystem_is_an_error_and_no_bus_error() {
    let dir = Dir::new();
    let at = c_path(&dir.0);
    // SAFETY: mounts a tiny tmpfs on the test's own directory.
    let mounted = unsafe {
        libc::mount(
            c"none".as_ptr(),
            at.as_ptr(),
            c"tmpfs".as_ptr(),
            0,
            c"size=64k".as_ptr().cast(),
        )
    };
    assert_eq!(mounted, 0, "needs the right to mount");
    refused(&dir.table(), Fault::NoSpace);
    let left = fs::read_dir(&dir.0).unwrap().count();
    // SAFETY: undoes the mount.
    unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
    assert_eq!(left, 0, "half a table was left");
}

#[test]
fn a_table_that_was_taken_away_is_noticed() {
    let dir = Dir::new();
    let (path, aside) = (dir.make(), dir.0.join("aside"));
    let here = dir.0.join("table");
    let table = attach(&path);
    assert!(!table.was_removed());
    // Moved: nothing else is there yet; then something is; then the table again.
    fs::rename(&here, &aside).unwrap();
    assert!(!table.was_removed());
    let newer = attach(&path);
    assert!(table.was_removed() && !newer.was_removed());
    fs::rename(&aside, &here).unwrap();
    assert!(!table.was_removed() && newer.was_removed());
    fs::remove_file(&here).unwrap();
    assert!(table.was_removed());
}

#[test]
fn many_make_one_table() {
    let dir = Dir::new();
    let path = dir.table();
    let words = shared_words(1);
    let all: Vec<_> = (0..8)
        .map(|_| {
            Child::run(|| {
                while words[0].load(SeqCst) == 0 {
                    std::hint::spin_loop();
                }
                match Table::attach(&path) {
                    Ok(_) => {
                        words[0].fetch_add(1, SeqCst);
                        while words[0].load(SeqCst) < 9 {
                            sleep_ms(1);
                        }
                        0
                    }
                    Err(_) => 1,
                }
            })
        })
        .collect();
    words[0].store(1, SeqCst);
    for child in all {
        assert_eq!(child.wait(), 0);
    }
    assert_eq!(
        fs::read_dir(&dir.0).unwrap().count(),
        1,
        "something was left beside the table"
    );
    assert_eq!(attach(&path).snapshot().processes.len(), 1);
}

/// Where in the file a slot of ours lies: where a number stands that is nowhere else.
fn cell_of(table: &Table, s: lock_table::Slot, file: &fs::File) -> u64 {
    let ino = 0xfeed_f00d_dead_beef;
    let c = lock_table::Claim {
        file: lock_table::FileId { dev: 1, ino },
        ..claim(Mode::BufferedRead, 0, 0)
    };
    table.announce(s, &c);
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    table.release(s);
    let words = bytes.chunks_exact(8);
    let at = words.map(|w| u64::from_ne_bytes(w.try_into().unwrap()));
    let at = at.enumerate().find(|(_, n)| *n == ino).unwrap().0 as u64;
    at * 8 - CELL_INO
}

const CELL_BYTES: u64 = 128;
const CELL_WAITING_ON: u64 = 12;
const CELL_INO: u64 = 24;
const CELL_MODE: u64 = 48;

/// Two wait, so the table says, for each other or for themselves. Whoever has to wait for them, and so looks whether
/// that is a deadlock, comes to an end.
#[test]
fn a_circle_that_is_none_of_ours_is_not_followed_for_ever() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let mut open = fs::OpenOptions::new();
    let file = open.read(true).write(true);
    let file = file.open(dir.0.join("table")).unwrap();
    let of = |first, last| claim(Mode::Layout, first, last);
    let (first, last) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    let base = cell_of(table, first, &file);
    // The first is in the way of two others, and not in the last one's.
    table.hold_now(first, &of(0, 0)).unwrap();
    let waiting = || {
        let all = table.snapshot().slots;
        let waits = all.iter().filter(|i| i.waiting_on.is_some());
        waits.map(|i| i.index).collect::<Vec<_>>()
    };
    let queue = [1, 2].map(|n| {
        let child = Child::run(|| {
            let Ok(t) = Table::attach(&path) else {
                return 1;
            };
            let Some(s) = t.take_slot(n) else { return 2 };
            let _ = t.hold(s, &of(0, 8191), &Mine::NONE, None, &mut no());
            3
        });
        until("it waits", || waiting().len() == n as usize);
        child
    });
    // Stopped, so that they leave standing what is written over them.
    for child in &queue {
        child.signal(libc::SIGSTOP);
        // SAFETY: waits until our child has stopped.
        unsafe { libc::waitpid(child.0, std::ptr::null_mut(), libc::WUNTRACED) };
    }
    let [a, b] = waiting()[..] else {
        panic!("two wait")
    };
    for (of_a, of_b) in [(b, a), (a, b)] {
        for (index, on) in [(a, of_a), (b, of_b)] {
            let cell = base + u64::from(index - first.index()) * CELL_BYTES;
            let on = u32::to_ne_bytes(on + 1);
            file.write_all_at(&on, cell + CELL_WAITING_ON).unwrap();
        }
        let looks = std::thread::spawn(move || {
            // Its own slot elsewhere makes it look for deadlocks early.
            let elsewhere = table.take_slot(2).unwrap();
            let c = claim(Mode::Layout, 4096, 4096);
            let late = table.hold(last, &c, &Mine::of(&[elsewhere]), in_ms(200), &mut no());
            table.give_slot(elsewhere);
            late
        });
        until("it comes to an end", || looks.is_finished());
        let late = looks.join().unwrap();
        assert!(matches!(late, Err(NotHeld::TimedOut(_))), "{late:?}");
    }
    queue.into_iter().for_each(Child::kill);
}

#[test]
fn a_poisoned_table_excludes_nobody_and_says_so() {
    let dir = Dir::new();
    let path = dir.make();
    let table = attach(&path);
    let (a, b) = (table.take_slot(1).unwrap(), table.take_slot(2).unwrap());
    let mut open = fs::OpenOptions::new();
    let file = open
        .read(true)
        .write(true)
        .open(dir.0.join("table"))
        .unwrap();
    let cell = cell_of(table, a, &file);
    table.hold_now(a, &claim(Mode::Layout, 0, 0)).unwrap();
    // A mode that there isn't, in a slot that is held: found by the first who must read it.
    let mode = 77u32.to_ne_bytes();
    file.write_all_at(&mode, cell + CELL_MODE).unwrap();
    let c = claim(Mode::Layout, 0, 0);
    assert!(table.damage().is_none());
    assert_eq!(table.hold_now(b, &c), Err(NotHeld::Poisoned));
    assert!(table.is_poisoned());
    let damage = table.damage().unwrap().to_string();
    assert!(damage.contains("its contents are damaged"), "{damage}");
    for _ in 0..2 {
        let held = table.hold(b, &c, &Mine::NONE, None, &mut no());
        assert_eq!(held, Err(NotHeld::Poisoned));
    }
    refused(&path, Fault::Poisoned);
}
