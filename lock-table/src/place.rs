//! Where the table is that a user's processes share when nobody names one.
//!
//! It lies in a directory of the user's own in `/dev/shm`, which all processes of a machine see alike: `/run/user` comes
//! and goes with sessions, and is hidden from services. But anybody may make names in `/dev/shm`, and a name that
//! somebody else has taken must not switch the fence off. So a directory counts only if it belongs to the user and
//! nobody else can write it, whatever it is called; one whose name is taken gets another; and processes that start at
//! the same time agree, while others plant and remove what they like:
//!
//! - the one with a table in it is it;
//! - a table is only made in a directory that was the user's only one when its maker looked;
//! - who sees several empty ones removes all but the first and looks again. A table can't be made in one that has been
//!   removed, and one with a table in it can't be removed.

use core::ffi::CStr;
use core::mem::MaybeUninit;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags, RawDir, accessat};
use rustix::io::Errno;

use crate::checks::Fd;

/// The table of the whole machine, where an administrator has made its directory.
pub const SYSTEM_TABLE: &CStr = c"/run/pagefence/table";
const SYSTEM_DIRECTORY: &CStr = c"/run/pagefence";

/// Whether this machine has a table for all, and this process a way into it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfSystem {
    None,
    /// It is there, or made by the first who comes.
    Open,
    /// Others may be in it: what they do isn't excluded. (`NOENT`: nobody is yet, and this process may not make it.)
    Closed(Errno),
}

/// Asked anew each time: groups and mounts change.
pub fn of_system() -> OfSystem {
    of_system_at(SYSTEM_TABLE, SYSTEM_DIRECTORY)
}

fn of_system_at(table: &CStr, directory: &CStr) -> OfSystem {
    // Without flags, which take a newer call that a sandbox may not know.
    let may = |path: &CStr, what| accessat(CWD, path, what, AtFlags::empty());
    let found = match may(table, Access::READ_OK | Access::WRITE_OK) {
        Err(Errno::NOENT) => match may(directory, Access::WRITE_OK | Access::EXEC_OK) {
            // For root to make, or for a service that hasn't been started.
            Err(Errno::ACCESS) => return OfSystem::Closed(Errno::NOENT),
            found => found,
        },
        found => found,
    };
    match found {
        Ok(()) => OfSystem::Open,
        Err(error @ (Errno::ACCESS | Errno::ROFS | Errno::LOOP)) => OfSystem::Closed(error),
        // It isn't there, or the call is refused, which says nothing of the table.
        Err(_) => OfSystem::None,
    }
}

const MEMORY: &str = "/dev/shm";
/// How often those who start at once may get in each other's way.
const TRIES: u32 = 64;
const STICKY: u32 = 0o1000;

/// The table that this user's processes share when nobody names one. Makes its directory.
pub fn default_path() -> CString {
    if of_system() == OfSystem::Open {
        return SYSTEM_TABLE.to_owned();
    }
    let user = rustix::process::geteuid().as_raw();
    let base = match keeps_names(Path::new(MEMORY)) {
        true => PathBuf::from(MEMORY),
        false => PathBuf::from(format!("/run/user/{user}")),
    };
    let directory = choose(&base, user).unwrap_or_else(|| usual(&base, user));
    CString::new(
        directory
            .join("table")
            .into_os_string()
            .into_encoded_bytes(),
    )
    .unwrap_or_default()
}

/// Whether what one user makes there can't be moved or removed by another.
fn keeps_names(base: &Path) -> bool {
    std::fs::metadata(base)
        .is_ok_and(|dir| dir.is_dir() && (dir.mode() & 0o002 == 0 || dir.mode() & STICKY != 0))
}

fn usual(base: &Path, user: u32) -> PathBuf {
    base.join(format!("pagefence-user-{user}"))
}

/// The user's directory, made if there is none. None: it can't be made.
fn choose(base: &Path, user: u32) -> Option<PathBuf> {
    let usual = usual(base, user);
    if is_own(&usual, user) && has_table(&usual) {
        return Some(usual);
    }
    for _ in 0..TRIES {
        let mut own = own_directories(base, user);
        if let Some(at) = own.iter().position(|directory| has_table(directory)) {
            return Some(own.swap_remove(at));
        }
        match own.as_slice() {
            [] => make(&usual, user)?,
            [only] => return Some(only.clone()),
            [_, others @ ..] => {
                for other in others {
                    let _ = std::fs::remove_dir(other); // one that has got a table stays
                }
            }
        }
    }
    None
}

/// Nobody but the user (and root) can put anything there.
fn is_own(directory: &Path, user: u32) -> bool {
    std::fs::symlink_metadata(directory)
        .is_ok_and(|found| found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0)
}

fn has_table(directory: &Path) -> bool {
    std::fs::symlink_metadata(directory.join("table")).is_ok()
}

/// In the order of their names.
fn own_directories(base: &Path, user: u32) -> Vec<PathBuf> {
    let usual = usual(base, user).into_os_string();
    let like_it = |path: &Path| {
        let rest = path.as_os_str().as_bytes().strip_prefix(usual.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
    };
    let mut own = Vec::new();
    each_name(base, |name| {
        let path = base.join(OsStr::from_bytes(name));
        if like_it(&path) && is_own(&path, user) {
            own.push(path);
        }
    });
    own.sort();
    own
}

/// Without libc's lists of directories, which take the program's memory: it may be in the middle of something there.
fn each_name(directory: &Path, mut act: impl FnMut(&[u8])) {
    const ROOM: usize = 8192;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(opened) = rustix::fs::open(
        directory.as_os_str().as_bytes(),
        flags,
        rustix::fs::Mode::empty(),
    ) else {
        return;
    };
    let opened = Fd::from(opened);
    let mut room = [MaybeUninit::uninit(); ROOM];
    let mut entries = RawDir::new(&opened, &mut room);
    while let Some(Ok(entry)) = entries.next() {
        act(entry.file_name().to_bytes());
    }
}

/// A directory of the usual name or, where somebody else has taken that, of one that nobody can foresee.
fn make(usual: &Path, user: u32) -> Option<()> {
    let make = |path: &Path| std::fs::DirBuilder::new().mode(0o700).create(path);
    let made = match make(usual) {
        Ok(()) => usual.to_owned(),
        Err(_) if is_own(usual, user) => return Some(()),
        Err(_) => {
            let mut other = usual.as_os_str().to_owned();
            other.push(format!("-{:x}-{:x}", std::process::id(), kernel::now_ns()));
            make(Path::new(&other)).ok()?;
            PathBuf::from(other)
        }
    };
    // The umask may have taken too much.
    let _ = std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o700));
    Some(())
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    struct Base(PathBuf);

    impl Base {
        fn new(name: &str) -> Base {
            let path =
                std::env::temp_dir().join(format!("pagefence-place-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Base(path)
        }
        fn plant(&self, name: &str) {
            // As good as another's: everybody may write it.
            std::fs::create_dir(self.0.join(name)).unwrap();
            let all = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(self.0.join(name), all).unwrap();
        }
    }

    impl Drop for Base {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn what_is_planted_is_passed_by_and_never_returned_to() {
        let base = Base::new("planted");
        let usual = format!("pagefence-user-{}", user());
        base.plant(&usual);
        base.plant(&format!("{usual}-0"));
        let own = choose(&base.0, user()).unwrap();
        assert!(is_own(&own, user()), "{own:?}");
        assert_eq!(choose(&base.0, user()).as_ref(), Some(&own));
        std::fs::write(own.join("table"), "").unwrap();
        // The usual name is free now, and then there is an empty directory of ours.
        std::fs::remove_dir(base.0.join(&usual)).unwrap();
        assert_eq!(choose(&base.0, user()).as_ref(), Some(&own));
        std::fs::create_dir(base.0.join(&usual)).unwrap();
        std::fs::set_permissions(base.0.join(&usual), std::fs::Permissions::from_mode(0o700))
            .unwrap();
        assert_eq!(choose(&base.0, user()), Some(own));
    }

    /// Nobody takes a directory that he can't use for none at all.
    #[test]
    fn the_machines_is_there_or_not_or_closed() {
        let base = Base::new("system");
        let c = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
        let (directory, table) = (base.0.join("run"), base.0.join("run/table"));
        let found = || of_system_at(&c(&table), &c(&directory));
        assert_eq!(found(), OfSystem::None);
        std::fs::create_dir(&directory).unwrap();
        assert_eq!(found(), OfSystem::Open, "the first who comes makes it");
        std::fs::write(&table, "").unwrap();
        assert_eq!(found(), OfSystem::Open);
        std::fs::remove_file(&table).unwrap();
        std::os::unix::fs::symlink(&table, &table).unwrap();
        assert_eq!(found(), OfSystem::Closed(Errno::LOOP));
        if user() == 0 {
            return; // root may all; the rest is tried with users of its own in the tests of programs
        }
        std::fs::remove_file(&table).unwrap();
        let none = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(&directory, none).unwrap();
        assert_eq!(found(), OfSystem::Closed(Errno::ACCESS));
    }

    /// While one plants and removes, all who start agree.
    #[test]
    fn those_who_start_at_once_agree() {
        for round in 0..40 {
            let base = Base::new(&format!("race-{round}"));
            let usual = format!("pagefence-user-{}", user());
            let begin = std::sync::Barrier::new(5);
            let starting = || {
                begin.wait();
                loop {
                    let own = choose(&base.0, user()).unwrap();
                    // As a table is made: not in a directory that is gone.
                    if std::fs::write(own.join("table"), "").is_ok() {
                        break own;
                    }
                }
            };
            let chosen: Vec<PathBuf> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(starting)).collect();
                begin.wait();
                let path = base.0.join(&usual);
                for _ in 0..50 {
                    // Ours for a moment, which a squatter's never is; what matters is that it comes and goes.
                    if std::fs::create_dir(&path).is_ok() {
                        let _ = std::fs::remove_dir(&path);
                    }
                }
                let join = |thread: std::thread::ScopedJoinHandle<'_, PathBuf>| thread.join();
                threads.into_iter().map(|t| join(t).unwrap()).collect()
            });
            assert!(chosen.iter().all(|one| *one == chosen[0]), "{chosen:?}");
        }
    }
}
