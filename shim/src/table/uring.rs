//! liburing's own doors. It makes its system calls itself, so that a ring can only be refused where a program asks liburing
//! for one: by name, which errors liburing's way (a negative number). What only works on a ring that is there already needs
//! no hook: under `refuse` none is made.

use crate::doors::uring::{Liburing, NO_SUCH_CALL, by_number, unless_refused};
use crate::table::calls;
use core::ffi::{c_int, c_uint, c_void};
use libc::size_t;

calls! { Liburing "io_uring: refused, or said" {
"makes a ring": unlisted [io_uring_queue_init]
    fn(entries: c_uint, ring: *mut c_void, flags: c_uint) -> c_int, |real| {
    unless_refused(real).map_or(NO_SUCH_CALL, |real| real(entries, ring, flags))
}
"makes a ring, with parameters": unlisted [io_uring_queue_init_params]
    fn(entries: c_uint, ring: *mut c_void, params: *mut c_void) -> c_int, |real| {
    unless_refused(real).map_or(NO_SUCH_CALL, |real| real(entries, ring, params))
}
"makes a ring in the program's memory": unlisted [io_uring_queue_init_mem]
    fn(entries: c_uint, ring: *mut c_void, params: *mut c_void, memory: *mut c_void, size: size_t) -> c_int, |real| {
    unless_refused(real).map_or(NO_SUCH_CALL, |real| real(entries, ring, params, memory, size))
}
"maps a ring": unlisted [io_uring_queue_mmap]
    fn(fd: c_int, params: *mut c_void, ring: *mut c_void) -> c_int, |real| {
    unless_refused(real).map_or(NO_SUCH_CALL, |real| real(fd, params, ring))
}
"asks what a ring could do": unlisted [io_uring_get_probe]
    fn() -> *mut c_void, |real| { unless_refused(real).map_or(core::ptr::null_mut(), |real| real()) }
"makes a ring, as the system call does": unlisted [io_uring_setup]
    fn(entries: c_uint, params: *mut c_void) -> c_int, |real| {
    unless_refused(real).map_or(NO_SUCH_CALL, |real| real(entries, params))
}
    by SYS_io_uring_setup fn(entries: c_uint) -> c_int, |real| { by_number(|| real(entries)) }
"submits to a ring, or waits": unlisted [io_uring_enter]
    fn(fd: c_uint, submit: c_uint, complete: c_uint, flags: c_uint, mask: *mut c_void) -> c_int, |real| {
    unless_refused(real).map_or(NO_SUCH_CALL, |real| real(fd, submit, complete, flags, mask))
}
    by SYS_io_uring_enter fn(fd: c_uint) -> c_int, |real| { by_number(|| real(fd)) }
"submits to a ring, or waits, with an argument": unlisted [io_uring_enter2]
    fn(fd: c_uint, submit: c_uint, complete: c_uint, flags: c_uint, argument: *mut c_void, size: size_t) -> c_int, |real| {
    unless_refused(real).map_or(NO_SUCH_CALL, |real| real(fd, submit, complete, flags, argument, size))
}
"lends things to a ring": unlisted [io_uring_register]
    fn(fd: c_uint, operation: c_uint, argument: *const c_void, count: c_uint) -> c_int, |real| {
    unless_refused(real).map_or(NO_SUCH_CALL, |real| real(fd, operation, argument, count))
}
    by SYS_io_uring_register fn(fd: c_uint) -> c_int, |real| { by_number(|| real(fd)) }
}
jumps {
"loads a library, which may make rings": [dlopen];
"loads a library into a namespace of its own, or refuses to": [dlmopen];
}}
