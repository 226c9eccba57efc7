//! Before the program gives up rights: what its files will need later is got now.
//!
//! After setuid, chroot, a new namespace or a sandbox the second descriptors of files that are used directly can't be
//! opened any more (see `second`), and behind a filter a number can't be looked at.

use core::sync::atomic::Ordering::*;

use crate::calls::unseen;
use crate::direct::second;
use crate::life::state::state;
use crate::tell::trace;
use crate::what::{changes, descriptors, own, words};
use crate::who::{outlived, process};

/// Before a call that takes rights on files away. Cheap where nothing was opened since the last time.
pub fn before_losing() {
    outlived::leave();
    trace::prepare();
    if !process::enters_table() {
        return;
    }
    let now = words::changes();
    if state().rights_at.load(Relaxed) == now {
        return;
    }
    let errno = kernel::errno();
    let first = !state().numbers_met.swap(true, AcqRel);
    for fd in changes::not_looked_at(first) {
        if kernel::get_flags(fd).is_ok_and(|flags| flags & libc::O_DIRECT as u32 != 0) {
            look_at(fd);
        }
    }
    open_seconds();
    state().rights_at.store(words::changes(), Relaxed);
    kernel::set_errno(errno);
}

/// Before a sandbox: every number is looked at, whatever stands behind it.
pub fn before_losing_all() {
    outlived::leave();
    trace::prepare();
    if !process::enters_table() {
        return;
    }
    let errno = kernel::errno();
    each_open_number(look_at);
    unseen::look();
    open_seconds();
    kernel::set_errno(errno);
}

fn look_at(fd: i32) {
    if let Some(pinned) = descriptors::pin(fd) {
        pinned.unpin();
    }
}

/// The second descriptors of everything that is used directly here.
fn open_seconds() {
    for fd in words::known_in(0, u32::MAX) {
        // Only what has been looked at: a peek, no system call.
        if !changes::is_direct(fd) {
            continue;
        }
        if let Some(pinned) = descriptors::pin(fd) {
            second::prepare(pinned.file, fd, pinned.description.flags());
            pinned.unpin();
        }
    }
}

/// Every number that is open, from `/proc` or, without it, by asking for each.
fn each_open_number(act: impl Fn(i32)) {
    const MOST: i32 = 65_536;
    let as_directory = libc::O_RDONLY | libc::O_DIRECTORY;
    let Some(dir) = changes::open_for_a_while(c"/proc/thread-self/fd", as_directory) else {
        (0..MOST)
            .filter(|fd| kernel::get_flags(*fd).is_ok())
            .for_each(act);
        return;
    };
    let mut entries = Entries { bytes: [0; 256] };
    loop {
        let n = kernel::directory_entries(dir, &mut entries.bytes);
        if n <= 0 {
            break;
        }
        let mut rest = entries.bytes.get(..n as usize).unwrap_or(&[]);
        while let Some((number, after)) = first_entry(rest) {
            if let Some(fd) = number.filter(|fd| *fd != dir) {
                act(fd);
            }
            rest = after;
        }
    }
    own::close(dir);
}

/// Aligned as the kernel writes them.
#[repr(align(8))]
struct Entries {
    bytes: [u8; 256],
}

/// The number that the first entry names, if it names one, and the entries behind it.
fn first_entry(entries: &[u8]) -> Option<(Option<i32>, &[u8])> {
    // struct linux_dirent64: inode, offset, length of the record, type, name.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    let length = match entries.get(LENGTH..LENGTH + 2)? {
        [low, high] => usize::from(u16::from_ne_bytes([*low, *high])),
        _ => return None,
    };
    let name = entries.get(NAME..length)?;
    let name = name.split(|b| *b == 0).next().unwrap_or(&[]);
    let number = core::str::from_utf8(name).ok().and_then(|n| n.parse().ok());
    Some((number, entries.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::sync::Mutex;

    /// A system call for each number that may be open would be made again and again.
    #[test]
    fn numbers_that_were_never_met_are_asked_for_once() {
        let (met, unmet) = (70_001, 70_002);
        assert!(words::ensure(unmet).is_some() && words::ensure(met).is_some());
        changes::opened(met, crate::what::descriptions::sharings(), None);
        let looked = |all| changes::not_looked_at(all).filter(|n| [met, unmet].contains(n));
        assert_eq!(looked(true).collect::<Vec<_>>(), [met, unmet]);
        assert_eq!(looked(false).collect::<Vec<_>>(), [met]);
    }

    #[test]
    fn every_open_number_is_met() {
        let files: Vec<_> = (0..200)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        let met = Mutex::new(Vec::new());
        each_open_number(|fd| met.lock().unwrap().push(fd));
        let met = met.into_inner().unwrap();
        for file in files {
            assert_eq!(met.iter().filter(|fd| **fd == file.as_raw_fd()).count(), 1);
        }
    }
}
