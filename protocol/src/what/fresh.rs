//! With which flags a number was opened that nobody has used yet: its first use needn't ask the kernel for them.
//!
//! What stands here is of one word of one number (`words`), and says nothing of any other: whose place has been taken by a
//! later open asks the kernel, as does who finds that the description may be shared by now.

use core::sync::atomic::Ordering::*;

use crate::what::state::state;
use crate::what::words::sequence;

/// An entry: the flags in 16 bits, the number in 24, and 24 of its word's sequence.
const NUMBER: u32 = 16;
const SEQUENCE: u32 = 40;

/// `F_GETFL` never says these: they are the open's own, or the number's.
const NOT_KEPT: i32 =
    libc::O_CREAT | libc::O_EXCL | libc::O_NOCTTY | libc::O_TRUNC | libc::O_CLOEXEC;
/// What the kernel keeps as it stands, and the library asks for.
const KEPT: i32 = libc::O_ACCMODE
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_DIRECT
    | libc::O_LARGEFILE
    | libc::O_DIRECTORY
    | libc::O_NOFOLLOW
    | libc::O_NOATIME;
/// Of these two the first comes with the second.
const SYNC: i32 = libc::O_SYNC & !libc::O_DSYNC;

/// Opens are made by libc, and nobody comes in between who may change their flags. In the constructor.
pub fn opens_are_as_asked() {
    state().opens_as_asked.store(true, Relaxed);
}

/// What `F_GETFL` says of an open with these flags, in 16 bits. None: it isn't known.
fn packed(flags: i32) -> Option<u64> {
    let kept = flags & !NOT_KEPT;
    let known = state().opens_as_asked.load(Relaxed)
        && kept & !KEPT == 0
        && kept & libc::O_ACCMODE != libc::O_ACCMODE
        && (kept & SYNC == 0 || kept & libc::O_DSYNC != 0)
        // Behind a filter somebody else may open it, as he likes.
        && !kernel::known::is_filtered();
    let kept = (kept | LARGE) as u64;
    known.then_some(kept & 3 | (kept >> 10) << 2)
}

/// Said by the kernel of all that a 64-bit program opens, where libc calls it 0.
#[cfg(target_arch = "x86_64")]
const LARGE: i32 = 0o100_000;
#[cfg(target_arch = "aarch64")]
const LARGE: i32 = 0o400_000;

fn place(word: u64) -> &'static core::sync::atomic::AtomicU64 {
    let places = &state().opened;
    // Never out of range.
    places
        .get(sequence(word) as usize % places.len())
        .unwrap_or(&state().opened_last)
}

/// The number is about to get this word. `flags`: what it was opened with, if that is known.
pub fn note(fd: i32, word: u64, flags: Option<i32>) {
    let packed = flags.and_then(packed);
    let entry = packed.map_or(0, |flags| flags | of(fd, word));
    place(word).store(entry, Relaxed);
}

fn of(fd: i32, word: u64) -> u64 {
    u64::from(fd as u32 & 0xff_ffff) << NUMBER | sequence(word) << SEQUENCE
}

/// The flags of what this fresh word was made for.
pub fn flags(fd: i32, word: u64) -> Option<u32> {
    let entry = place(word).load(Relaxed);
    let is_its = entry != 0 && entry >> NUMBER == of(fd, word) >> NUMBER;
    let flags = entry as u32 & 0xffff;
    is_its.then_some(flags & 3 | (flags >> 2) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::what::words::{FRESH, make};

    /// The kernel's own word, for each of these and all of them.
    #[test]
    fn flags_are_as_the_kernel_says_them() {
        opens_are_as_asked();
        let dir = tempfile::tempdir().unwrap();
        let path = std::ffi::CString::new(dir.path().join("f").to_str().unwrap()).unwrap();
        let more = [
            libc::O_CREAT | libc::O_TRUNC,
            libc::O_APPEND,
            libc::O_NONBLOCK,
            libc::O_DSYNC,
            libc::O_SYNC,
            libc::O_NOFOLLOW,
            libc::O_NOATIME,
            libc::O_CLOEXEC | libc::O_NOCTTY,
        ];
        for access in [libc::O_RDWR, libc::O_WRONLY, libc::O_RDONLY] {
            for some in 0..1 << more.len() {
                let added = (0..more.len()).filter(|bit| some >> bit & 1 == 1);
                let flags = added.fold(access | libc::O_CREAT, |all, bit| all | more[bit]);
                // SAFETY: plain calls.
                let fd = unsafe { libc::open(path.as_ptr(), flags, 0o600) };
                let word = make(FRESH, 0);
                note(fd, word, Some(flags));
                assert_eq!(self::flags(fd, word), Some(kernel::get_flags(fd).unwrap()));
                assert_eq!(self::flags(fd + 1, word), None);
                assert_eq!(self::flags(fd, make(FRESH, 0)), None);
                // SAFETY: ours.
                unsafe { libc::close(fd) };
            }
        }
        for unknown in [
            libc::O_PATH,
            libc::O_TMPFILE | libc::O_RDWR,
            libc::O_ACCMODE,
        ] {
            let word = make(FRESH, 0);
            note(3, word, Some(unknown));
            assert_eq!(flags(3, word), None);
        }
    }

    #[test]
    fn a_later_open_takes_the_place() {
        opens_are_as_asked();
        let first = make(FRESH, 0);
        note(3, first, Some(libc::O_RDWR));
        assert!(flags(3, first).is_some());
        let mut last = first;
        for _ in 0..state().opened.len() {
            last = make(FRESH, 0);
            note(4, last, Some(libc::O_RDONLY));
        }
        assert_eq!(flags(3, first), None);
        assert!(flags(4, last).is_some());
        note(4, last, None);
        assert_eq!(flags(4, last), None);
    }
}
