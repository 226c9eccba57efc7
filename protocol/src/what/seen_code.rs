//! Files whose code was looked at from end to end and makes no ring: remembered beside the lock table, so that a large
//! library isn't read anew whenever a program starts (a compiler's takes 40 milliseconds).
//!
//! A file is known by what changes when it does: where it is, its size, when it was last written and last changed in any
//! way. That can be looked up by its name only, after the loader has mapped it. So one that was changed a short while ago
//! isn't remembered: another one may have been there when the loader looked.

use core::ffi::CStr;
use core::mem::size_of;

use crate::who::process;

/// What is said of one file. They stand at the place that their number leads to; who comes later takes it.
type Mark = u64;
const PLACES: u64 = 4096;
/// Older than a start takes.
const SETTLED_S: i64 = 60;
/// Changes with what is looked for.
const EDITION: u64 = 1;

/// The list, for as long as it is asked.
pub struct SeenCode(i32);

impl SeenCode {
    /// None: there is none, and none can be made, or it isn't this user's alone.
    pub fn open() -> Option<SeenCode> {
        let mut room = [0; 1024];
        process::enters_table();
        let probe = process::table()?.probe_fd();
        let len = kernel::path_of(probe, &mut room).len();
        const BEHIND: &[u8] = b".seen-code\0";
        room.get_mut(len..len + BEHIND.len())
            .filter(|_| len != 0)?
            .copy_from_slice(BEHIND);
        let path = CStr::from_bytes_until_nul(&room).ok()?;
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let fd = i32::try_from(kernel::open(path, flags)).ok()?;
        let list = (fd >= 0).then_some(SeenCode(fd))?;
        let facts = kernel::privilege::facts(fd)?;
        // SAFETY: asks only.
        let user = unsafe { libc::geteuid() };
        let own = facts.st_uid == user && facts.st_mode & (libc::S_IFMT | 0o077) == libc::S_IFREG;
        own.then_some(list)
    }

    pub fn has(&self, mark: Mark) -> bool {
        let mut there = [0; size_of::<Mark>()];
        kernel::program::read(self.0, place(mark), &mut there) == there.len()
            && Mark::from_ne_bytes(there) == mark
    }

    pub fn add(&self, mark: Mark) {
        let bytes = mark.to_ne_bytes();
        kernel::move_at(
            true,
            self.0,
            bytes.as_ptr() as usize,
            bytes.len(),
            place(mark),
        );
    }
}

impl Drop for SeenCode {
    fn drop(&mut self) {
        kernel::close(self.0);
    }
}

fn place(mark: Mark) -> u64 {
    mark % PLACES * size_of::<Mark>() as u64
}

/// Of the file of this name; the empty one is the program's. None: it isn't to be remembered, or a sandbox may end who asks.
pub fn mark_of(name: &CStr) -> Option<Mark> {
    if kernel::known::is_filtered() {
        return None;
    }
    let name = if name.is_empty() {
        c"/proc/self/exe"
    } else {
        name
    };
    let file = kernel::privilege::facts_at(libc::AT_FDCWD, name.as_ptr(), 0)?;
    let now = (kernel::realtime_ns() / 1_000_000_000) as i64;
    mark_if_settled(&file, now)
}

fn mark_if_settled(file: &libc::stat, now: i64) -> Option<Mark> {
    let changed = file.st_ctime;
    (changed <= now.saturating_sub(SETTLED_S)).then(|| {
        let all = [
            EDITION,
            file.st_dev,
            file.st_ino,
            file.st_size as u64,
            file.st_mtime as u64,
            file.st_mtime_nsec as u64,
            changed as u64,
            file.st_ctime_nsec as u64,
        ];
        // An empty place says 0.
        all.into_iter().fold(0, mixed) | 1
    })
}

/// As splitmix64 mixes: each bit of what went in changes half of those that come out.
fn mixed(before: u64, word: u64) -> u64 {
    let mut x = (before ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    fn file(change: impl FnOnce(&mut libc::stat)) -> libc::stat {
        // SAFETY: plain integers.
        let mut file: libc::stat = unsafe { core::mem::zeroed() };
        (file.st_ino, file.st_size, file.st_ctime) = (7, 1000, 5000);
        change(&mut file);
        file
    }

    #[test]
    fn what_changes_has_another_mark() {
        let mark = |change: fn(&mut libc::stat)| mark_if_settled(&file(change), 9000);
        let known = mark(|_| {});
        assert!(known.is_some());
        for change in [
            (|f| f.st_ino = 8) as fn(&mut libc::stat),
            |f| f.st_dev = 1,
            |f| f.st_size = 1001,
            |f| f.st_mtime_nsec = 1,
            |f| f.st_ctime_nsec = 1,
        ] {
            assert!(mark(change).is_some() && mark(change) != known);
        }
    }

    #[test]
    fn what_was_changed_just_now_has_none() {
        assert_eq!(mark_if_settled(&file(|_| {}), 5059), None);
        assert!(mark_if_settled(&file(|_| {}), 5060).is_some());
    }

    #[test]
    fn a_list_has_what_was_added() {
        let world = World::new();
        world.process().enter(|| {
            let mark = 12_345;
            assert!(!SeenCode::open().unwrap().has(mark));
            SeenCode::open().unwrap().add(mark);
            let list = SeenCode::open().unwrap();
            assert!(list.has(mark) && !list.has(mark + PLACES));
        });
    }
}
