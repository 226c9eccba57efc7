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
//! State is owned: each room has one [`State`](who::owned) with all that it remembers of the process, in its file `state`,
//! and touches no other room's. The library has one of each, at a fixed address. In tests a `Process` owns a set of its own
//! and a thread belongs to one, so that two processes live in one test, attached to one lock table, and make the real calls
//! on real files. What is static beside them is not the process's memory: the kernel's facts (`kernel`: its number, the
//! clock, the gate), tables of constants, addresses of real functions (`shim`), and what a thread is known by
//! ([`who::thread`]). What has been told is [`tell`]'s, whoever tells it.
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
#[cfg(test)]
mod world;
