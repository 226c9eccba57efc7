//! Writing back: asking for it, its errors, and dropping pages.

use core::ffi::c_int;

use crate::call::Raw;

/// The file's writeback error, if this descriptor has not seen it yet: -EIO or the like; 0: none.
pub fn writeback_error(fd: c_int, offset: u64, len: u64) -> Raw {
    call!(
        SYS_sync_file_range,
        fd,
        offset,
        len,
        libc::SYNC_FILE_RANGE_WAIT_BEFORE
    )
}

/// fdatasync or, with `all`, fsync.
pub fn sync(fd: c_int, all: bool) -> Raw {
    if all {
        call!(SYS_fsync, fd)
    } else {
        call!(SYS_fdatasync, fd)
    }
}

/// Writes the range's dirty pages to the device and waits, as a sync does. Where that can't be asked for (a sandbox), all
/// of the file's.
pub fn sync_range(fd: c_int, offset: u64, len: u64) -> Raw {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let n = call!(SYS_sync_file_range, fd, offset, len, all);
    if n == 0 || is_writeback_error(n) {
        return n;
    }
    sync(fd, false)
}

/// What a device or a full filesystem says, by way of a sync.
pub fn is_writeback_error(n: Raw) -> bool {
    matches!(-n as i32, libc::EIO | libc::ENOSPC | libc::EDQUOT)
}

pub fn drop_pages(fd: c_int, offset: u64, len: u64) -> Raw {
    call!(SYS_fadvise64, fd, offset, len, libc::POSIX_FADV_DONTNEED)
}
