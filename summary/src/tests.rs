//! The counters and uses of a run: added up, merged, overflowing, half-written, scribbled over.

use super::file::{ENTRIES, LENGTH, PATH_BYTES, PROGRAM_BYTES, WORDS, at};
use super::uses::{PHASE, WRITING};
use super::*;
use rustix::io::Errno;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A path of the test's own, gone afterwards.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Place {
        let name = format!("pagefence-summary-test-{}-{name}", std::process::id());
        Place(std::env::temp_dir().join(name))
    }

    pub(crate) fn path(&self) -> CString {
        CString::new(self.0.as_os_str().as_bytes()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn counts_of_all_who_map_the_file_add_up() {
    let place = Place::new("counts");
    let one = Summary::create(&place.path()).unwrap();
    let two = Summary::open(&place.path()).unwrap();
    one.add(Counter::Waits, 2);
    two.add(Counter::Waits, 3);
    one.max(Counter::WaitMaxNanos, 70);
    two.max(Counter::WaitMaxNanos, 50);
    two.add(Counter::Processes, 1);
    assert_eq!(one.get(Counter::Waits), 5);
    assert_eq!(two.get(Counter::WaitMaxNanos), 70);
    assert_eq!(one.get(Counter::Processes), 1);
    assert_eq!(one.get(Counter::DirectWritesDirect), 0);
    assert_eq!(Summary::create(&place.path()).err(), Some(Errno::EXIST));
}

#[test]
fn uses_are_merged_by_file_and_program() {
    let place = Place::new("uses");
    let summary = Summary::create(&place.path()).unwrap();
    let long = [b"/".as_slice(), &[b'd'; 500], b"/file"].concat();
    summary.note_use(1, 7, b"/srv/a", b"writer", 10, USED_DIRECT);
    summary.note_use(1, 7, b"/srv/a", b"writer", 11, USED_BUFFERED);
    summary.note_use(1, 7, b"/srv/a", b"reader", 12, USED_MAPPED);
    summary.note_use(1, 8, &long, &[b'p'; 100], 13, USED_DIRECT);
    let mut uses = summary.uses();
    uses.sort_by_key(|record| record.pid);
    assert_eq!(uses.len(), 3);
    assert_eq!(uses[0].path, b"/srv/a");
    assert_eq!(uses[0].program, b"writer");
    assert_eq!(uses[0].modes, USED_DIRECT | USED_BUFFERED);
    assert_eq!(uses[1].modes, USED_MAPPED);
    assert_eq!(uses[2].path, long[long.len() - PATH_BYTES..]);
    assert!(uses[2].path_truncated && !uses[1].path_truncated);
    assert_eq!(uses[2].program, [b'p'; PROGRAM_BYTES]);
    assert_eq!(summary.lost_uses(), 0);
}

#[test]
fn uses_beyond_the_last_entry_and_half_written_ones_are_counted() {
    let place = Place::new("overflow");
    let summary = Summary::create(&place.path()).unwrap();
    for ino in 0..ENTRIES as u64 + 3 {
        summary.note_use(1, ino, b"/f", b"p", 1, USED_DIRECT);
    }
    assert_eq!(summary.uses().len(), ENTRIES);
    assert_eq!(summary.lost_uses(), 3);
    // As a process leaves it that is killed between claiming an entry and publishing it.
    let entry = summary.entry(5).unwrap();
    entry.store(at::STATE, (entry.state() & !PHASE) | WRITING);
    assert_eq!(summary.uses().len(), ENTRIES - 1);
    assert_eq!(summary.lost_uses(), 4);
}

#[test]
fn notes_from_many_threads_are_neither_lost_nor_doubled() {
    let place = Place::new("threads");
    let summary = Summary::create(&place.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let summary = &summary;
            scope.spawn(move || {
                for ino in 0..200 {
                    summary.note_use(1, ino, b"/f", b"p", thread, 1 << thread);
                }
            });
        }
    });
    let uses = summary.uses();
    assert_eq!(uses.len(), 200);
    assert!(uses.iter().all(|record| record.modes == 0b1111));
    assert_eq!(summary.lost_uses(), 0);
}

#[test]
fn other_files_are_refused() {
    let place = Place::new("other");
    for contents in [
        vec![],
        vec![0; LENGTH],
        vec![0x5a; LENGTH],
        vec![0; LENGTH - 1],
    ] {
        std::fs::write(&place.0, contents).unwrap();
        assert_eq!(Summary::open(&place.path()).err(), Some(Errno::INVAL));
    }
    std::fs::remove_file(&place.0).unwrap();
    assert_eq!(Summary::open(&place.path()).err(), Some(Errno::NOENT));
    std::os::unix::fs::symlink("/dev/null", &place.0).unwrap();
    assert_eq!(Summary::open(&place.path()).err(), Some(Errno::LOOP));
}

#[test]
fn scribbled_contents_are_read_without_harm() {
    let place = Place::new("scribbled");
    let summary = Summary::create(&place.path()).unwrap();
    for index in at::LOST_USES..WORDS {
        summary.store(index, u64::MAX - index as u64);
    }
    for record in summary.uses() {
        assert!(record.path.len() <= PATH_BYTES && record.program.len() <= PROGRAM_BYTES);
    }
    summary.note_use(1, 1, b"/f", b"p", 1, USED_DIRECT);
    assert!(summary.lost_uses() > 0);
}
