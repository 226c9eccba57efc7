//! Linux AIO: libaio's functions, there only in programs that load it, and the system calls behind them, which a program
//! that brings libaio with it, or none, makes through `syscall`. libaio says an error as the kernel does, by a negative
//! number.

use crate::doors::aio::{Libaio, said, submit, wait, wait_masked};
use crate::table::calls;
use core::ffi::{c_int, c_long, c_ulong, c_void};
use kernel::aio::{Event, Mask};
use libc::timespec;
use protocol::requests::calls;

/// With what the libc crate lacks.
mod libc {
    pub use ::libc::*;
    #[allow(non_upper_case_globals)]
    pub const SYS_io_pgetevents: c_long = kernel::aio::GET_EVENTS_MASKED;
}

calls! { Libaio "Linux AIO" {
"makes a context": unlisted [io_setup]
    fn(count: c_int, into: *mut usize) -> c_int, |real| { let _ = real; calls::setup(count as u32, into) as c_int }
    by SYS_io_setup fn(count: c_int, into: *mut usize) -> c_long, |real| {
    let _ = real;
    said(calls::setup(count as u32, into))
}
"makes a context, whatever was there": unlisted [io_queue_init]
    fn(count: c_int, into: *mut usize) -> c_int, |real| {
    let _ = real;
    if count <= 0 {
        return -libc::EINVAL;
    }
    *into = 0;
    calls::setup(count as u32, into) as c_int
}
"destroys a context": unlisted [io_destroy, io_queue_release]
    fn(context: c_ulong) -> c_int, |real| { let _ = real; calls::destroy(context as usize) as c_int }
    by SYS_io_destroy fn(context: usize) -> c_long, |real| { let _ = real; said(calls::destroy(context)) }
"reads and writes later": unlisted [io_submit]
    fn(context: c_ulong, count: c_long, blocks: *const *mut c_void) -> c_int, |real| {
    let _ = real;
    submit(context as usize, count as isize, blocks) as c_int
}
    by SYS_io_submit fn(context: usize, count: isize, blocks: *const *mut c_void) -> c_long, |real| {
    let _ = real;
    said(submit(context, count, blocks))
}
"gives up a request": unlisted [io_cancel]
    fn(context: c_ulong, block: *mut c_void, event: *mut c_void) -> c_int, |real| {
    let _ = real;
    calls::cancel(context as usize, block as u64, event as usize) as c_int
}
    by SYS_io_cancel fn(context: usize, block: *mut c_void, event: *mut c_void) -> c_long, |real| {
    let _ = real;
    said(calls::cancel(context, block as u64, event as usize))
}
"takes completions, or waits": unlisted [io_getevents]
    fn(context: c_ulong, least: c_long, most: c_long, into: *mut Event, limit: *const timespec) -> c_int, |real| {
    let _ = real;
    wait(context as usize, (least as isize, most as isize), into, limit) as c_int
}
    by SYS_io_getevents
    fn(context: usize, least: isize, most: isize, into: *mut Event, limit: *const timespec) -> c_long, |real| {
    let _ = real;
    said(calls::get_events(context, (least, most), into, limit))
}
"takes completions, or waits with a signal mask": unlisted [io_pgetevents]
    fn(context: c_ulong, least: c_long, most: c_long, into: *mut Event, limit: *const timespec, set: *const c_void) -> c_int, |real| {
    let _ = real;
    wait_masked(context as usize, (least as isize, most as isize), into, limit, set) as c_int
}
    by SYS_io_pgetevents
    fn(context: usize, least: isize, most: isize, into: *mut Event, limit: *const timespec, mask: *const Mask) -> c_long, |real| {
    let _ = real;
    said(calls::get_events_masked(context, (least, most), into, limit, mask))
}
}}
