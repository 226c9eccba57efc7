//! What a fenced process does: all the thinking behind the hooks of `shim`, testable without interposition.
//!
//! A hook finds the descriptor, names the operation and hands the real call over; everything else is here.
//! One call goes through these rooms, in this order:
//!
//! | room | what it knows |
//! |---|---|
//! | [`thread`] | the calling thread's record: nesting level, lock slots, what to reclaim |
//! | [`descriptors`] | number → open file description → file, looked up at first use |
//! | [`files`] | one record per file (identity, policy, who uses it how) |
//! | [`names`] | the path behind a number, as bytes |
//! | [`ranges`] | taking and giving back ranges in the lock table, waiting, timing out |
//! | [`transfer`] | read and write: which range, which mode, and the real call under it |
//! | [`direct`], [`append`], [`writeback`] | direct I/O: the check after a write, and falling back |
//! | [`storage`] | filesystems that want something of their own |
//! | [`second`] | the second descriptor that the check and the fall back need |
//! | [`own`], [`replace`] | our own numbers, which the program doesn't see; numbers that come to stand for something else |
//! | [`mappings`], [`remaps`], [`locked`], [`places`], [`routes`] | mmap and its family: which parts of a file may be dirtied through memory |
//! | [`unseen`], [`maps`], [`early`] | what exists and was not seen being made |
//! | [`beyond`] | what was stored beyond the end of a file |
//! | [`layout`], [`emptying`] | truncate, fallocate, `O_TRUNC` |
//! | [`process`], [`fork`], [`exec`], [`variables`] | the constructor; what becomes of it all in a child and in the next program |
//! | [`rights`], [`sandbox`], [`needs`], [`filter`], [`handed_on`] | before the program gives up rights; which calls of ours a sandbox lets us make |
//! | [`events`], [`told`], [`trace`] | what is told, and where it goes |
//! | [`scratch`] | a stack of ours for what needs more than a small one has |
//!
//! Rules of the house: a call leaves all but 3 KiB of the caller's stack alone ([`scratch`]), no panic, no allocation on the way of an I/O call, no libc function that is
//! itself hooked (raw system calls instead), and nothing of the user's memory is touched by our own
//! instructions while a range is held.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod alignment;
pub mod append;
pub mod beyond;
pub mod data;
pub mod descriptors;
pub mod direct;
pub mod early;
pub mod emptying;
pub mod events;
pub mod exec;
pub mod files;
pub mod filter;
pub mod fork;
pub mod handed_on;
pub mod layout;
pub mod locked;
pub mod mappings;
pub mod maps;
pub mod names;
pub mod needs;
pub mod numbers;
pub mod own;
pub mod places;
pub mod process;
pub mod ranges;
pub mod refused;
pub mod registry;
pub mod remaps;
pub mod replace;
pub mod rights;
pub mod rings;
pub mod routes;
pub mod sandbox;
pub mod scratch;
pub mod second;
pub mod storage;
pub mod thread;
pub mod told;
pub mod trace;
pub mod transfer;
pub mod unseen;
pub mod variables;
pub mod writeback;

pub use kernel as raw;
pub use kernel::{arena, text};
