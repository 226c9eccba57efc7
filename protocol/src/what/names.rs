//! Files by their names, which are bytes: the path behind a descriptor, and what the policy says by it.
//!
//! A file is one inode, whatever its names (hard links, bind mounts), and has one record with one set of settings.
//! The policy speaks of names. So the first name by which this process meets a file, and by which it is fenced,
//! decides; and where the policy says something else by another name, that is told once.
//!
//! Matching takes time linear in the path, and a server may be slow to say what it is: no work for the registry lock. So
//! the policy is asked before.

use core::sync::atomic::{AtomicU64, Ordering::*};

use kernel::path_of;
use lock_table::{FileId, USE_DIRECT};
use policy::{Mode, OnTableError, Policy, Settings};

use crate::tell::events::{self, Event};
use crate::tell::told::{Once, first_of_left_out, first_time};
use crate::what::identity;
use crate::what::identity::mark_of;
use crate::what::state::state;
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
pub fn ask(fd: i32, stat: &kernel::Stat) -> Said {
    let id = identity::identity(stat);
    let filesystem = filesystem(fd, stat);
    let settings = id.and_then(|_| ask_policy(fd, filesystem, stat.is_block_device()));
    Said {
        id,
        filesystem,
        settings: settings.filter(|s| s.mode != Mode::Off),
        off: settings.is_some_and(|s| s.mode == Mode::Off),
    }
}

fn filesystem(fd: i32, stat: &kernel::Stat) -> &'static str {
    if let Some(magic) = quick_magic(stat).filter(|magic| stat.mount_lasts && *magic != 0) {
        return policy::filesystem_name(magic.into());
    }
    let magic = kernel::filesystem_magic(fd).unwrap_or(0) as u32;
    let name = policy::filesystem_name(magic.into());
    if let Some((place, mount)) = mount_of(stat).filter(|_| !policy::is_shared_with_others(name)) {
        place.store(mount << 32 | u64::from(magic), Relaxed);
    }
    name
}

/// Mounts that answered without asking a server what they are, with what that is: the mount's number and the filesystem's
/// magic one in a word; 0: none. Where numbers don't last, that of one that is gone may be another's by now: then that one is
/// asked under the registry once, and nothing worse.
fn mount_of(stat: &kernel::Stat) -> Option<(&'static AtomicU64, u64)> {
    let mounts = &state().quick_mounts;
    let place = mounts.get(stat.mount as usize % mounts.len())?;
    let fits = stat.mount != 0 && stat.mount <= u32::MAX.into();
    fits.then_some((place, stat.mount))
}

/// What the mount is, if it answered so.
fn quick_magic(stat: &kernel::Stat) -> Option<u32> {
    let (place, mount) = mount_of(stat)?;
    let seen = place.load(Relaxed);
    (seen >> 32 == mount).then_some(seen as u32)
}

/// The same as `ask`, where the answer depends on no name and so costs next to nothing.
pub fn ask_at_once(fd: i32, stat: &kernel::Stat) -> Option<Said> {
    let simple = process::policy().is_none_or(|policy| policy.for_all().is_some());
    (simple && quick_magic(stat).is_some()).then(|| ask(fd, stat))
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

#[cold]
fn tell_unknown_path() {
    if first_time(Once::UnknownPath) {
        let reason = "a file's path can't be known (there is no /proc, or it is too long, or the file lies outside the \
             root): no rule of the policy with a `path` matches it";
        events::emit(&Event {
            done: "what holds without a path holds",
            ..Event::uncovered(None, reason)
        });
    }
}

/// Whether a file can be fenced by one name and not by another.
pub fn fences_by_path() -> bool {
    process::policy().is_some_and(Policy::fences_by_path)
}

impl Said {
    pub fn is_of(&self, stat: &kernel::Stat) -> bool {
        self.id == identity::identity(stat)
    }

    /// For a number that is not fenced: 0 where that is not the policy's doing.
    pub fn mark(&self) -> u32 {
        match self.id {
            Some(id) if self.off => mark_of(id),
            _ => 0,
        }
    }

    /// The policy leaves the file out by this name: does a fenced process use it directly all the same?
    pub fn look_for_others(&self, fd: i32) {
        let Some(id) = self.id.filter(|_| self.off && process::enters_table()) else {
            return;
        };
        let Some(table) = process::table() else {
            return;
        };
        let users = table.users(id);
        if users.bits & USE_DIRECT != 0 && first_of_left_out(mark_of(id)) {
            let reason = "the policy leaves this file out by this name, or for this program, and fences it for another \
                 process, which uses it directly: write rules that say the same for both";
            events::emit(&Event {
                fd,
                other: users.first,
                ..Event::uncovered(None, reason)
            });
        }
    }
}

/// With no table and `on_table_error = "refuse"`: whether this file would be enforced.
pub fn would_be_fenced(fd: i32) -> bool {
    scratch::roomy(|| is_refused(fd))
}

fn is_refused(fd: i32) -> bool {
    let Ok(stat) = kernel::fstat(fd) else {
        return false;
    };
    let enforced =
        |s: Settings| s.mode == Mode::Enforce && s.on_table_error == OnTableError::Refuse;
    ask(fd, &stat).settings.is_some_and(enforced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;

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
