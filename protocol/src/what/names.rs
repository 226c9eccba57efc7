//! Files by their names, which are bytes: the path behind a descriptor, and what the policy says by it.
//!
//! A file is one inode, whatever its names (hard links, bind mounts), and has one record with one set of settings.
//! The policy speaks of names. So the first name by which this process meets a file, and by which it is fenced,
//! decides; and where the policy says something else by another name, that is told once.
//!
//! Matching takes time linear in the path, and a server may be slow to say what it is: no work for the registry lock. So
//! the policy is asked before.

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use std::os::unix::ffi::OsStrExt;

use lock_table::{FileId, USE_DIRECT};
use policy::{Escaped, Mode, Policy, Settings};

use crate::direct::second;
use crate::raw;
use crate::tell::events::{self, Event, number_path};
use crate::text::Text;
use crate::what::files::{self, BLOCK_DEVICE, File, NAMES_TOLD, OTHER_NAMES};
use crate::what::{descriptors, own};
use crate::who::{process, scratch};

/// What the policy says of a file by the name that a descriptor has.
#[derive(Clone, Copy)]
pub struct Said {
    id: Option<FileId>,
    /// None: it is not fenced.
    pub settings: Option<Settings>,
    /// What it lies on.
    pub filesystem: &'static str,
    /// It is the policy that leaves it out.
    off: bool,
}

/// Ask the policy about what this number stands for. Not under the registry lock, but as `ask_at_once` does.
pub fn ask(fd: i32, stat: &raw::Stat) -> Said {
    let id = descriptors::identity(stat);
    let filesystem = policy::filesystem_name(raw::filesystem_magic(fd).unwrap_or(0) as u64);
    if !policy::is_shared_with_others(filesystem) {
        quick(stat).store(stat.mount, Relaxed);
    }
    let settings = id.and_then(|_| ask_policy(fd, filesystem, stat.is_block_device()));
    Said {
        id,
        filesystem,
        settings: settings.filter(|s| s.mode != Mode::Off),
        off: settings.is_some_and(|s| s.mode == Mode::Off),
    }
}

/// Mounts that answered without asking a server what they are; 0: none. The number of one that is gone may be another's
/// by now: then that one is asked under the registry once, and nothing worse.
static QUICK: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

fn quick(stat: &raw::Stat) -> &'static AtomicU64 {
    let [first, ..] = &QUICK;
    QUICK
        .get(stat.mount as usize % QUICK.len())
        .unwrap_or(first)
}

/// The same, where the answer depends on no name and so costs next to nothing.
pub fn ask_at_once(fd: i32, stat: &raw::Stat) -> Option<Said> {
    let simple = process::policy().is_none_or(|policy| policy.for_all().is_some());
    let known = stat.mount != 0 && quick(stat).load(Relaxed) == stat.mount;
    (simple && known).then(|| ask(fd, stat))
}

/// None: no policy matters for it.
fn ask_policy(fd: i32, filesystem: &str, block_device: bool) -> Option<Settings> {
    let policy = process::policy()?;
    if !block_device && policy::is_kernel_filesystem(filesystem) {
        return None;
    }
    if let Some(settings) = policy.for_all() {
        return Some(*settings);
    }
    scratch::roomy(|| {
        let mut buffer = [0u8; 4096];
        let path = path_of(fd, &mut buffer);
        if !path.starts_with(b"/") && policy.asks_for_paths() {
            tell_unknown_path();
        }
        Some(policy.settings_for(path, process::program(), filesystem))
    })
}

/// What the policy says of the file that a path leads to; None: it is not fenced. `path` is the program's pointer.
///
/// Where it depends on the name, the file is opened to look at it only. No lease is broken by that, nobody is told of
/// it, and closing it drops no POSIX lock.
pub fn ask_by_path(dir: i32, path: *const c_char) -> Option<Settings> {
    let policy = process::policy()?;
    if let Some(settings) = policy.for_all() {
        return Some(*settings).filter(|s| s.mode != Mode::Off);
    }
    let fd = open_to_look(dir, path);
    let Ok(stat) = raw::fstat(fd) else {
        // No number is free. Rather one that is fenced for nothing.
        return policy.first_fenced().copied();
    };
    let said = ask(fd, &stat);
    said.look_for_others(fd);
    own::close_looked_at(fd);
    said.settings
}

fn open_to_look(dir: i32, path: *const c_char) -> i32 {
    let fd = raw::open_path(dir, path);
    let full = fd == -(libc::EMFILE as isize) && second::shed();
    (if full { raw::open_path(dir, path) } else { fd }) as i32
}

#[cold]
fn tell_unknown_path() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, AcqRel) {
        let reason = "a file's path can't be known (there is no /proc, or it is too long, or the file lies outside the \
             root): no rule of the policy with a `path` matches it";
        events::emit(&Event {
            done: "what holds without a path holds",
            ..Event::uncovered(0, reason)
        });
    }
}

/// Whether a file can be fenced by one name and not by another.
pub fn fences_by_path() -> bool {
    process::policy().is_some_and(Policy::fences_by_path)
}

/// Flags of a new record.
pub fn first_flags(stat: &raw::Stat) -> u32 {
    let device = if stat.is_block_device() {
        BLOCK_DEVICE
    } else {
        0
    };
    let others = stat.is_regular() && stat.links > 1 && fences_by_path();
    device | if others { OTHER_NAMES } else { 0 }
}

/// Whether this descriptor may have come by another name than the record, with other settings: at no cost where the
/// file has one name, or the policy asks for none.
pub fn may_differ(file: &File, stat: &raw::Stat) -> bool {
    (stat.links > 1 || stat.mount != file.mount.load(Relaxed))
        && !file.has(NAMES_TOLD)
        && process::policy().is_some_and(Policy::asks_for_paths)
}

/// Something uses the file directly, so what goes past the fence by another name is at risk: told once.
pub fn tell_of_others(file: &File, index: u32, fd: i32) {
    if file.has(OTHER_NAMES) && !file.mark(NAMES_TOLD) {
        let reason = "the file has other names (hard links), by which the policy may not fence it: write rules that \
             say the same by all its names";
        events::emit(&Event {
            fd,
            done: "reported",
            ..Event::uncovered(index, reason)
        });
    }
}

/// A word that stands for the file, to find it again among numbers that are not fenced; never 0.
pub fn mark_of(id: FileId) -> u32 {
    let mixed = (id.ino ^ id.dev.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32 | 1
}

impl Said {
    pub fn is_of(&self, stat: &raw::Stat) -> bool {
        self.id == descriptors::identity(stat)
    }

    /// For a number that is not fenced: 0 where that is not the policy's doing.
    pub fn mark(&self) -> u32 {
        match self.id {
            Some(id) if self.off => mark_of(id),
            _ => 0,
        }
    }

    /// The number's file has a record: does that hold what is said here?
    pub fn compare(&self, description: u32, fd: i32) {
        let index = descriptors::description(description).map_or(0, |d| d.file_index());
        let Some(file) = files::get(index) else {
            return;
        };
        let same = self.settings.is_some_and(|s| file.has_settings(&s));
        if !same && !file.mark(NAMES_TOLD) {
            tell_difference(index, fd);
        }
    }

    /// The policy leaves the file out by this name: does a fenced process use it directly all the same?
    pub fn look_for_others(&self, fd: i32) {
        let (Some(id), Some(table)) = (self.id.filter(|_| self.off), process::table()) else {
            return;
        };
        let users = table.users(id);
        if users.bits & USE_DIRECT != 0 && !told_before(mark_of(id)) {
            let reason = "the policy leaves this file out by this name, or for this program, and fences it for another \
                 process, which uses it directly: write rules that say the same for both";
            events::emit(&Event {
                fd,
                other: users.first,
                ..Event::uncovered(0, reason)
            });
        }
    }
}

/// A file that is not fenced has no record that could say so. Of many such files some may be told again.
fn told_before(mark: u32) -> bool {
    static TOLD: [AtomicU32; 64] = [const { AtomicU32::new(0) }; 64];
    let cell = TOLD.get(mark as usize / 2 % TOLD.len());
    cell.is_some_and(|cell| cell.swap(mark, AcqRel) == mark)
}

#[cold]
fn tell_difference(index: u32, fd: i32) {
    scratch::roomy_or_not_at_all(|| {
        let mut buffer = [0u8; 1024];
        let first = descriptors::another_number(index, fd);
        let first = first.map_or(&[] as &[u8], |fd| path_of(fd, &mut buffer));
        let reason = Text::<1200>::of(format_args!(
            "the policy says something else by this name than by the file's other name {}: write rules that say the \
             same by all its names",
            Escaped(first)
        ));
        events::emit(&Event {
            fd,
            done: "what holds by the other name holds",
            ..Event::uncovered(index, reason.as_str())
        });
    });
}

/// The path behind a descriptor, as the kernel knows it. Empty where it can't be known: there is no `/proc`, or it is
/// longer than the kernel tells.
pub fn path_of(fd: i32, buffer: &mut [u8]) -> &[u8] {
    let n = raw::read_link(number_path(fd).as_c_str(), buffer).unwrap_or(0);
    without_deleted(fd, buffer, n)
}

const DELETED: &[u8] = b" (deleted)";

/// The kernel puts a word behind the last path of a file that has been unlinked. Whoever is really called so still
/// has that name.
fn without_deleted(fd: i32, buffer: &mut [u8], n: usize) -> &[u8] {
    let ends_so = buffer.get(..n).is_some_and(|path| path.ends_with(DELETED));
    let n = match ends_so && !is_named(fd, buffer, n) {
        true => n - DELETED.len(),
        false => n,
    };
    buffer.get(..n).unwrap_or(&[])
}

#[cold]
fn is_named(fd: i32, buffer: &mut [u8], n: usize) -> bool {
    let Some(end) = buffer.get_mut(n) else {
        return false;
    };
    *end = 0;
    let Ok(path) = CStr::from_bytes_until_nul(buffer) else {
        return false;
    };
    let by_name = raw::fstatat(libc::AT_FDCWD, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW);
    match (by_name, raw::fstat(fd)) {
        (Ok(named), Ok(open)) => (named.dev, named.ino) == (open.dev, open.ino),
        _ => false,
    }
}

/// The file name of this process's executable, also when that has been replaced since. In the constructor.
pub fn program() -> Vec<u8> {
    let exe = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let name = exe.file_name().unwrap_or_default().as_bytes();
    let replaced = !exe.exists();
    let real = name.strip_suffix(DELETED).filter(|_| replaced);
    real.unwrap_or(name).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_path_is_bytes_and_what_the_kernel_adds_is_none_of_it() {
        let dir = std::env::temp_dir().join(format!("pagefence-names-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        for name in [b"plain".as_slice(), b"caf\xe9", b"x (deleted)", b"a\nb"] {
            let path = dir.join(OsStr::from_bytes(name));
            let file = fs::File::create(&path).unwrap();
            let mut buffer = [0; 4096];
            let expected = fs::canonicalize(&path).unwrap();
            let expected = expected.as_os_str().as_bytes();
            assert_eq!(path_of(file.as_raw_fd(), &mut buffer), expected);
            fs::remove_file(&path).unwrap();
            assert_eq!(path_of(file.as_raw_fd(), &mut buffer), expected);
        }
        fs::remove_dir(&dir).unwrap();
        assert_eq!(path_of(-1, &mut [0; 64]), b"");
    }
}
