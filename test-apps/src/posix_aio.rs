//! POSIX's asynchronous calls, which libc makes in threads of its own.

use crate::sys::{Fd, Res, failed};
use std::ptr::null;

/// Writes all of the bytes there, by one request, and waits until it is done.
pub fn write(file: &Fd, bytes: &[u8], offset: u64) -> Res<()> {
    // SAFETY: all zeroes is a request that asks for nothing.
    let mut request: libc::aiocb = unsafe { std::mem::zeroed() };
    request.aio_fildes = file.raw();
    request.aio_buf = bytes.as_ptr().cast_mut().cast();
    request.aio_nbytes = bytes.len();
    request.aio_offset = offset as libc::off_t;
    // SAFETY: the request and the bytes outlive it: nothing leads out of here before it is done.
    unsafe {
        if libc::aio_write(&raw mut request) != 0 {
            return failed("aio_write");
        }
        while libc::aio_error(&raw const request) == libc::EINPROGRESS {
            let list = [&raw const request];
            libc::aio_suspend(list.as_ptr(), 1, null());
        }
        match libc::aio_return(&raw mut request) {
            n if n == bytes.len() as isize => Ok(()),
            -1 => failed("aio_write"),
            n => Err(format!("aio_write of {} bytes wrote {n}", bytes.len())),
        }
    }
}
