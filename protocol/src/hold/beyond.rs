//! What a mapping has stored beyond the end of a file, in its last page, is no part of the file, and mustn't become part
//! of it when something extends the file. Most filesystems clear the page then. tmpfs never does: there it is cleared
//! here, under the range that whatever may extend the file holds. ext4 doesn't for a direct write that begins behind
//! that page: such a write goes through the cache.

use lock_table::page;

use crate::what::file::File;
use crate::what::storage::KEEPS_TAIL;
use crate::who::process;

/// Before a call that extends a file of this size. Only where somebody has the last page mapped now: one who isn't
/// fenced may have extended it in between, and nothing is taken from him for nothing.
pub fn clear(fd: i32, file: &File, size: u64) {
    let inside = size % page();
    if !file.has(KEEPS_TAIL) || inside == 0 {
        return;
    }
    if process::table().is_some_and(|t| t.mapped_writable(file.id(), size, size).is_some()) {
        let errno = kernel::errno();
        kernel::punch(fd, size, page() - inside);
        kernel::set_errno(errno);
    }
}

/// Whether a write leaves the rest of the file's last page behind it (P7).
pub(crate) fn leaves_a_tail(position: u64, size: u64) -> bool {
    !size.is_multiple_of(page()) && position / page() > size / page()
}
