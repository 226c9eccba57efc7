//! POSIX's asynchronous calls: libc makes them in threads of its own, by instructions of its own (see `doors::sites`), and
//! what these do is fenced like any other call. Where that can't be, it is said.

use crate::doors::aio::{POSIX, is_covered, posix, tell_each};
use crate::doors::symbol::Libc;

use crate::table::calls;
use core::ffi::{c_int, c_long};
use libc::{aiocb, sigevent};

calls! { Libc "POSIX AIO" {
"reads later": [aio_read] unlisted [aio_read64]
    fn(block: *mut aiocb) -> c_int, |real| {
    posix(block.cast(), || real(block))
}
"writes later": [aio_write] unlisted [aio_write64]
    fn(block: *mut aiocb) -> c_int, |real| {
    posix(block.cast(), || real(block))
}
"writes back later": [aio_fsync] unlisted [aio_fsync64]
    fn(operation: c_int, block: *mut aiocb) -> c_int, |real| {
    posix(block.cast(), || real(operation, block))
}
"reads and writes later, or waits": [lio_listio] unlisted [lio_listio64]
    fn(mode: c_int, list: *const *mut aiocb, count: c_int, event: *mut sigevent) -> c_int, |real| {
    if !is_covered() {
        tell_each(list.cast(), c_long::from(count), 0, POSIX);
    }
    real(mode, list, count, event)
}
}}
