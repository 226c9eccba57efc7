//! The numbers of a file's second descriptors (see `second`).

use core::sync::atomic::{AtomicI32, Ordering::*};

use crate::what::file::File;
use crate::what::own;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    Reading,
    Writing,
}

pub fn cell(file: &File, purpose: For) -> &AtomicI32 {
    match purpose {
        For::Reading => &file.second_read,
        For::Writing => &file.second_write,
    }
}

pub fn cells(file: &File) -> [&AtomicI32; 2] {
    [&file.second_read, &file.second_write]
}

/// Closed first, and the program's number then: the other way round the program could have it already.
pub fn close(stored: i32) {
    kernel::close(stored - 1);
    own::disown(stored - 1);
}

/// Under the registry lock, or in a child.
pub fn close_all(file: &File) {
    for cell in cells(file) {
        let stored = cell.swap(0, AcqRel);
        if stored > 0 {
            close(stored);
        }
    }
}

/// Every number in use as a second descriptor of the file. Under the registry lock they stay what they are.
pub fn numbers(file: &File) -> impl Iterator<Item = i32> {
    cells(file)
        .map(|cell| cell.load(Acquire))
        .into_iter()
        .filter(|s| *s > 0)
        .map(|s| s - 1)
}

/// Take over descriptors that the process kept for this file across exec.
pub fn adopt(file: &File, fd: i32) {
    let purpose = match kernel::get_flags(fd).map(|f| f as i32 & libc::O_ACCMODE) {
        Ok(libc::O_RDONLY) => For::Reading,
        _ => For::Writing,
    };
    kernel::set_close_on_exec(fd, true);
    let _ = cell(file, purpose).compare_exchange(0, fd + 1, AcqRel, Acquire);
}
