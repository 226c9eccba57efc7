//! How a program gets in. A door finds what the program asks for in the table, translates it into an operation of
//! `protocol`, and hands the real call over; it doesn't think.

pub mod aio;
pub mod children;
pub mod copies;
pub mod messages;
pub mod opens;
pub mod rights;
pub mod scope;
pub mod signals;
#[cfg(target_arch = "x86_64")]
pub mod sites;
pub mod stdio;
pub mod streams;
pub mod symbol;
pub mod syscall;
pub mod text;
pub mod uring;
