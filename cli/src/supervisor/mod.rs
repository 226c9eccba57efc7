//! `pagefence supervise`: the fence for programs that no preload can enter, because they are static or make their own system
//! calls (Go).
//!
//! A seccomp filter, inherited by all that the program starts, sends its file calls to a supervisor ([`filter`],
//! [`listener`]). The supervisor makes each call itself, on a copy of the program's number ([`numbers`]) and with room of its
//! own for what is moved ([`memory`]), and answers with the result. It is `pagefence` with the library preloaded, and makes
//! these calls by libc's names, so the fence in it is the same as in any program, and nothing of the protocol stands here.
//!
//! | file | what it knows |
//! |---|---|
//! | [`launch`], [`stand_by`] | how a program comes to be supervised: in place, with its process number |
//! | [`serve`] | the supervisor's threads, and its end |
//! | [`transfer`], [`layout`], [`copies`] (and [`pipes`]), [`mirrors`] | the calls, by family |
//! | [`names`] | files that the program names, from where it stands |
//! | [`limits`] | what the kernel asks of who makes a call, and means the program |
//! | [`restarts`] | calls that a signal cuts short before they are heard of |
//! | [`rights`] | that nobody gains any by it |
//! | [`said`] | what is said, and where |
//!
//! What is trusted of a call: its registers, and that its thread waits (`NOTIF_ID_VALID`) once its memory has been read.
//! What the kernel does itself after all (`CONTINUE`) is what concerns no file, whatever another thread changes meanwhile
//! in the memory that the call points to; a number that another thread gives another file between the look and the
//! kernel's own is a race of the program's, which it would lose bare, too.
//!
//! A supervisor that is killed takes the filter's answers with it: the program's file calls then fail with ENOSYS, which is
//! said. They can't go unfenced.

pub mod args;
mod copies;
mod filter;
mod launch;
mod layout;
mod limits;
mod listener;
mod memory;
mod mirrors;
mod names;
mod numbers;
mod pipes;
mod processes;
mod restarts;
mod rights;
mod said;
mod scene;
mod serve;
mod stand_by;
mod transfer;

pub use launch::{become_supervised, is_possible};

use crate::failure::Failure;
use args::SuperviseArgs;

pub fn supervise(arguments: &SuperviseArgs) -> Result<i32, Failure> {
    match &arguments.serve {
        Some(about) => serve::serve(about),
        None => launch::launch(arguments),
    }
}
