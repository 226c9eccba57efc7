//! Files that a program names, found from where it stands: its directory, its root, its rights.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::listener::Answer;
use super::rights;
use super::scene::Scene;

pub enum Named {
    /// A regular file or a block device that is there, open as a place only.
    File(OwnedFd),
    /// Something else, or nothing: the kernel knows what to do.
    Other,
}

/// `no_follow`: `O_NOFOLLOW`, or 0.
pub fn find(scene: &Scene, dir: i32, path: &[u8], no_follow: i32) -> Result<Named, Answer> {
    let thread = scene.call.thread;
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::from_bits_retain(no_follow as u32);
    let found = match (path, number_named(path)) {
        ([], _) => Err(rustix::io::Errno::NOENT),
        (_, Some(number)) => {
            let path = format!("/proc/{thread}/fd/{number}");
            rustix::fs::open(path, flags, Mode::empty())
        }
        (path, None) => walked(thread, dir, path, flags),
    };
    match found.map(kind_of) {
        Ok(Named::File(_)) if !rights::are_ours(scene) => Err(scene.shared.said.not_covered(
            scene.process.number,
            "a file is emptied by its name, by a process that has given up rights which its supervisor has",
        )),
        Ok(named) => Ok(named),
        // By a link of /proc's: to whom it leads depends on who walks.
        Err(rustix::io::Errno::LOOP) => Err(scene.shared.said.not_covered(
            scene.process.number,
            "a file is emptied by a name that leads through /proc",
        )),
        Err(_) => Ok(Named::Other),
    }
}

fn kind_of(file: OwnedFd) -> Named {
    let kind = kernel::privilege::facts(file.as_raw_fd()).map_or(0, |f| f.st_mode & libc::S_IFMT);
    match kind == libc::S_IFREG || kind == libc::S_IFBLK {
        true => Named::File(file),
        false => Named::Other,
    }
}

/// The usual names of a process's own numbers.
fn number_named(path: &[u8]) -> Option<i32> {
    let digits = match path {
        b"/dev/stdin" => return Some(0),
        b"/dev/stdout" => return Some(1),
        b"/dev/stderr" => return Some(2),
        path => [
            &b"/dev/fd/"[..],
            b"/proc/self/fd/",
            b"/proc/thread-self/fd/",
        ]
        .iter()
        .find_map(|before| path.strip_prefix(*before))?,
    };
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn walked(thread: u32, dir: i32, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let place = |name: &str| {
        let path = format!("/proc/{thread}/{name}");
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    };
    let is_absolute = path.starts_with(b"/");
    let sees_the_same = sees_the_same(thread);
    let base = match (is_absolute, dir) {
        (true, _) => place("root")?,
        (false, libc::AT_FDCWD) => place("cwd")?,
        (false, number) => place(&format!("fd/{number}"))?,
    };
    // In another root a link that begins with a slash would lead out of it.
    let within = match (sees_the_same, is_absolute) {
        (true, _) => ResolveFlags::NO_MAGICLINKS,
        (false, true) => ResolveFlags::NO_MAGICLINKS | ResolveFlags::IN_ROOT,
        (false, false) => ResolveFlags::NO_SYMLINKS,
    };
    openat2(base.as_fd(), path, flags, Mode::empty(), within)
}

/// Whether its root and its mounts are ours.
fn sees_the_same(thread: u32) -> bool {
    let facts = |path: &str| {
        let found = rustix::fs::stat(path).ok()?;
        Some((found.st_dev, found.st_ino))
    };
    let same = |theirs: &str, ours: &str| {
        let theirs = facts(&format!("/proc/{thread}/{theirs}"));
        theirs.is_some() && theirs == facts(ours)
    };
    same("ns/mnt", "/proc/self/ns/mnt") && same("root", "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ones_own_numbers() {
        assert_eq!(number_named(b"/dev/stderr"), Some(2));
        assert_eq!(number_named(b"/dev/fd/17"), Some(17));
        assert_eq!(number_named(b"/proc/self/fd/3"), Some(3));
        assert_eq!(number_named(b"/proc/self/fd/3/x"), None);
        assert_eq!(number_named(b"/tmp/file"), None);
    }
}
