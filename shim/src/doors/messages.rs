//! Messages that carry numbers from one process to another.

use core::ffi::{c_int, c_uint};
use libc::{mmsghdr, msghdr};
use protocol::calls::numbers::made_elsewhere;
use protocol::life::fork::sharing;

/// Whether a message may hand descriptors over: before it is sent, the receiver may be quick.
fn hands_over(message: *const msghdr) -> bool {
    // SAFETY: plain integers and pointers; all-zero is a value.
    let mut header: [msghdr; 1] = unsafe { core::mem::zeroed() };
    kernel::copy_from_program(message, &mut header).is_ok()
        && header
            .iter()
            .any(|h| !h.msg_control.is_null() && h.msg_controllen > 0)
}

pub fn sending(messages: *const mmsghdr, count: c_uint) {
    for i in 0..count.min(1024) as usize {
        // The header comes first in each.
        if hands_over(messages.wrapping_add(i).cast()) {
            return sharing();
        }
    }
}

pub fn sending_one(message: *const msghdr) {
    if hands_over(message) {
        sharing();
    }
}

/// Forget the numbers that came with a message.
pub fn received(message: *const msghdr) {
    // SAFETY: the kernel has just filled the message in; the macros stay within msg_controllen.
    unsafe {
        if (*message).msg_control.is_null() {
            return;
        }
        let mut part = libc::CMSG_FIRSTHDR(message);
        while !part.is_null() {
            if (*part).cmsg_level == libc::SOL_SOCKET && (*part).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*part).cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                let numbers = libc::CMSG_DATA(part).cast::<c_int>();
                for i in 0..bytes / size_of::<c_int>() {
                    made_elsewhere(numbers.add(i).read_unaligned());
                }
            }
            part = libc::CMSG_NXTHDR(message, part);
        }
    }
}

/// `got` messages have been received, if it isn't negative.
pub fn received_all(messages: *const mmsghdr, got: c_int) -> c_int {
    for i in 0..usize::try_from(got).unwrap_or(0) {
        // The header comes first in each.
        received(messages.wrapping_add(i).cast());
    }
    got
}
