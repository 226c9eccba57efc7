//! libaio's doors: there only in programs that load it. Not covered: said once a file.

use crate::doors::aio::{Libaio, submit, tell_submitted};
use crate::table::calls;
use core::ffi::{c_int, c_long, c_ulong, c_void};

calls! { Libaio "Linux AIO: not covered, and said" {
"reads and writes later": unlisted [io_submit]
    fn(context: c_ulong, count: c_long, blocks: *const *mut c_void) -> c_int, |real| {
    tell_submitted(count, blocks);
    match real() {
        Some(real) => real(context, count, blocks),
        None => submit(context, count, blocks),
    }
}
    by SYS_io_submit fn(context: c_ulong, count: c_long, blocks: *const *mut c_void) -> c_long, |real| {
    tell_submitted(count, blocks);
    real(context, count, blocks)
}
}}
