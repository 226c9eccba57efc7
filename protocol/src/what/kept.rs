//! Descriptors that the process kept for files with POSIX locks when it became this program (see `exec`), until the files
//! are met again.

use core::sync::atomic::Ordering::*;

use lock_table::FileId;

use crate::what::own;
use crate::what::state::{KEPT, Kept, state};

pub fn list() -> &'static [Kept] {
    &state().kept
}

/// Those that may be there: mostly there never was any.
fn any() -> impl Iterator<Item = &'static Kept> {
    let count = if state().keeps.load(Acquire) { KEPT } else { 0 };
    list().iter().take(count)
}

impl Kept {
    fn id(&self) -> FileId {
        FileId {
            dev: self.dev.load(Relaxed),
            ino: self.ino.load(Relaxed),
        }
    }
    pub fn get(&self) -> Option<(i32, FileId)> {
        let fd = self.fd.load(Acquire);
        (fd != 0).then(|| (fd - 2, self.id()))
    }
    fn take(&self) -> Option<i32> {
        match self.fd.swap(0, AcqRel) {
            0 => None,
            fd => Some(fd - 2),
        }
    }
}

impl Kept {
    /// In the constructor.
    pub fn put(&self, fd: i32, id: FileId) {
        self.dev.store(id.dev, Relaxed);
        self.ino.store(id.ino, Relaxed);
        self.fd.store(fd + 2, Release);
        state().keeps.store(true, Release);
    }
}

/// What an earlier program of this process kept for this file: a descriptor, or -1.
pub fn kept_for(id: FileId) -> impl Iterator<Item = i32> {
    any()
        .filter(move |kept| kept.get().is_some_and(|(_, of)| of == id))
        .filter_map(Kept::take)
}

/// The program takes this number for itself; whether it was one that was kept. Under the registry lock.
pub fn surrender(fd: i32) -> bool {
    any().any(|kept| kept.fd.compare_exchange(fd + 2, 1, AcqRel, Acquire).is_ok())
}

/// In a forked child: its parent's locks are not its own.
pub fn close_kept_in_child() {
    for fd in any().filter_map(Kept::take).filter(|fd| *fd >= 0) {
        kernel::close(fd);
        own::disown(fd);
    }
}
