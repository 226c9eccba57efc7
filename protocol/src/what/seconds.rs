//! The numbers of a file's second descriptors (see `second`).

use core::sync::atomic::{AtomicI32, Ordering::*};

use crate::what::file::File;
use crate::what::own;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    Reading,
    Writing,
    /// With `O_DIRECT`, for requests whose program doesn't know it.
    ReadingPast,
    WritingPast,
}

pub const ALL: [For; 4] = [
    For::Reading,
    For::Writing,
    For::ReadingPast,
    For::WritingPast,
];

pub fn cell(file: &File, purpose: For) -> &AtomicI32 {
    match purpose {
        For::Reading => &file.second_read,
        For::Writing => &file.second_write,
        For::ReadingPast => &file.second_past_read,
        For::WritingPast => &file.second_past_write,
    }
}

pub fn cells(file: &File) -> [&AtomicI32; 4] {
    ALL.map(|purpose| cell(file, purpose))
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
    let flags = kernel::get_flags(fd).map_or(0, |flags| flags as i32);
    let reads = flags & libc::O_ACCMODE == libc::O_RDONLY;
    let purpose = match (reads, flags & libc::O_DIRECT != 0) {
        (true, false) => For::Reading,
        (false, false) => For::Writing,
        (true, true) => For::ReadingPast,
        (false, true) => For::WritingPast,
    };
    kernel::set_close_on_exec(fd, true);
    let _ = cell(file, purpose).compare_exchange(0, fd + 1, AcqRel, Acquire);
}
