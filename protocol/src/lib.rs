//! What a fenced process does: all the thinking behind the hooks of `shim`, testable without interposition.
//!
//! A hook finds the descriptor, names the operation and hands the real call over; everything else is here.
//! Rooms, from the ground up; each says at its head what it is for:
//!
//! | room | what it knows |
//! |---|---|
//! | [`who`] | who calls: the process and its threads |
//! | [`tell`] | what is said, and the ways it goes |
//! | [`what`] | numbers, open file descriptions, files, names; which parts of a file may be dirtied through memory |
//! | [`hold`] | ranges in the lock table, the file offset: taking, waiting, giving back |
//! | [`direct`] | direct I/O: the look after a write, the repair, falling back |
//! | [`calls`] | reading and writing, changes of layout, mappings, the life of numbers |
//! | [`requests`] | what outlives its call: Linux AIO |
//! | [`life`] | the whole process: its start, forks, the next program, rights and sandboxes; it gives the others their orders |
//!
//! Rules of the house: a call leaves all but 3 KiB of the caller's stack alone ([`who::scratch`]), no panic, no allocation
//! on the way of an I/O call, no libc function that is itself hooked (raw system calls instead), and nothing of the user's
//! memory is touched by our own instructions while a range is held.
#![doc = include_str!("../argument.md")]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod calls;
pub mod direct;
pub mod hold;
pub mod life;
#[cfg(test)]
mod model;
pub mod requests;
pub mod tell;
pub mod what;
pub mod who;
