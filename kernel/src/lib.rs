//! What stands between us and Linux: the system calls that we make ourselves, raw, so that no hook (ours or another
//! library's) sees them, and the few things that a program's own libc would otherwise be asked for: memory that is never
//! given back ([`arena`]), short texts on the stack ([`text`]), numbers out of the program's sight ([`high`]).
//!
//! No policy, no table, and no state but what it has been told ([`known`], the gate in front of every call of ours in a
//! sandbox, the clock). One function for each thing; errors are the kernel's negative numbers ([`Raw`]) or `Errno`.
//! Addresses of the program's are bare numbers here: only the kernel follows them.
#![deny(clippy::undocumented_unsafe_blocks)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

#[macro_use]
mod call;
pub mod aio;
pub mod arena;
mod bytes;
mod clock;
#[cfg(target_arch = "x86_64")]
pub mod code;
pub mod errors;
mod futex;
pub mod high;
pub mod known;
pub mod locks;
mod memory;
mod numbers;
pub mod obstacle;
mod paths;
pub mod privilege;
mod process;
pub mod program;
mod signals;
mod stat;
pub mod supervised;
mod sync;
#[cfg(test)]
mod tests;
pub mod text;
mod ticks;

pub use bytes::*;
pub use call::*;
pub use clock::*;
pub use futex::*;
pub use memory::*;
pub use numbers::*;
pub use paths::*;
pub use process::*;
pub use signals::*;
pub use stat::*;
pub use sync::*;
pub use ticks::{Moment, Ticks};
