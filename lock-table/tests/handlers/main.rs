//! Signal handlers at every instruction. A thread is led through an operation one instruction at a time; before one of
//! them a handler comes in and makes calls with a slot of its own, or jumps out as `siglongjmp` does, or both, or forks. Then
//! nothing may be broken: what is held excludes others, what is used after the jump is seen by everybody, what is given
//! back leaves no hints, and the table isn't poisoned.
//!
//! All of it in the first slots, whose hint words each have a stack to themselves, and in slots above 2,048, where they
//! share one. Of an operation of more than a thousand instructions, and of the spinning of one that waits, a sample at
//! even distances is tried; with `PAGEFENCE_TEST_LONG=1` all, or every second one, and twice as many seeds.

#[path = "../common/mod.rs"]
mod common;
#[cfg(target_arch = "x86_64")]
mod forks;
#[cfg(target_arch = "x86_64")]
mod operations;
#[cfg(target_arch = "x86_64")]
mod steps;
#[cfg(target_arch = "x86_64")]
mod world;

#[cfg(not(target_arch = "x86_64"))]
#[test]
fn at_every_instruction() {
    common::skip("threads are led by the trap flag of x86_64");
}
