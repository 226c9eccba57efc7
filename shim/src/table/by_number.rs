//! `syscall`, the odd door: what it is asked for stands in the other families, beside the names.

use crate::doors::symbol::Libc;
use crate::doors::syscall::{Call, enter};
use crate::table::calls;
use core::ffi::c_long;

calls! { Libc "By number" {
"makes a system call: those that stand in this table as the table says": variadic [syscall]
    fn(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long, |real| {
    enter(&Call { real, number, words: [a, b, c, d, e, f] })
}
}}
