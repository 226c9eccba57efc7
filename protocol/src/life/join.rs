//! Joining the lock table: at the first file that is fenced, and not at the start, so that a program which uses none pays for
//! none. (Other numbers, pipes and terminals, are no files; whom the policy leaves out needs no table.)
//!
//! Whoever comes to the first file joins, under the registry lock: of two threads one does it and the other finds it done;
//! signals are blocked, so no handler comes by in the middle; and nobody forks meanwhile, which the table asks for (see its
//! `attach`). It is done where there is room (`scratch`), and with nothing of libc's that could be in the middle of
//! something: no memory of the program's, no streams, no directory lists.
//!
//! At the start already joins
//! - who may not use files without a table: the policy says so, and who can't join is to hear it at his first open;
//! - whose table is named and isn't there or is no good: it is made, or said, before the program runs;
//! - who may have few numbers: there may be none left by then;
//! - who has mapped a file before us (another library's constructor): its stores need no call.
//!
//! And it is joined before what it takes may go: rights (`rights`), calls (`sandbox`), numbers and memory (a limit).

use core::ffi::CStr;
use std::ffi::CString;

use kernel::errors;
use lock_table::{Fault, OfSystem, Table};
use policy::Policy;

use crate::hold::ranges;
use crate::life::state::state;
use crate::life::{fork, handed_on};
use crate::tell::events::{self, Event, Kind};
use crate::tell::told;
use crate::what::descriptions::unpin_in;
use crate::what::own;
use crate::who::process;
use crate::who::registry::Registry;
use crate::who::{lineage, scratch};

/// In the constructor: which table, for when it is joined.
pub fn know_table(named: Option<CString>) {
    let _ = state().named.set(Box::new(named));
}

/// In the constructor: whether the table is to be joined now, for its own sake.
pub fn is_due(named: Option<&CStr>) -> bool {
    // It takes two, which the program may have used by its first file.
    const FEW_NUMBERS: u64 = 64;
    let is_relative = |path: &CStr| path.to_bytes().first() != Some(&b'/');
    let has_few = kernel::number_limit().is_some_and(|limit| limit <= FEW_NUMBERS);
    has_few || named.is_some_and(|path| is_relative(path) || !Table::is_sound(path))
}

/// Whether this process is in the table then. (The order that `process::joins` gives.)
pub fn now(registry: &Registry) -> bool {
    let errno = kernel::errno();
    let joined = scratch::roomy_in(registry, || match process::table() {
        Some(table) => fork::enter(table, registry),
        None => first(registry),
    });
    kernel::set_errno(errno);
    joined
}

fn first(registry: &Registry) -> bool {
    if kernel::getpid() != process::pid() {
        // Forked past us before there was anything to follow.
        fork::become_process();
    }
    process::know_program();
    told::share();
    lineage::watch();
    scratch::init();
    let named = state().named.get().and_then(Option::as_deref);
    if named.is_none() && !may_do_without_the_machines() {
        return false;
    }
    let no_number = Fault::Other(libc::EMFILE);
    let attached = match attach(named) {
        Err(error) if error.fault() == no_number => {
            kernel::high::beyond_the_limit(|| attach(named)).unwrap_or(Err(error))
        }
        attached => attached,
    };
    match attached {
        Ok(table) => {
            let stale = own::claim_in(registry, table.probe_fd());
            stale
                .into_iter()
                .for_each(|index| unpin_in(index, registry));
            ranges::tell_reaped(&table);
            process::has_joined(table);
            true
        }
        Err(error) => {
            not_fenced(&error, process::without_table("not fenced"));
            false
        }
    }
}

/// Nobody names a table. Where the machine has one for all, and this process can't join it, its user's own keeps only this
/// user's programs apart: that is said, or refused as the policy says of who has no table.
fn may_do_without_the_machines() -> bool {
    let OfSystem::Closed(error) = lock_table::of_system() else {
        return true;
    };
    let refuses = process::policy().is_some_and(Policy::may_refuse);
    let (kind, done, is_new) = match refuses {
        true => (
            Kind::TableError,
            process::without_table(""),
            handed_on::is_first_to_say_unfenced(),
        ),
        false => (
            Kind::Uncovered,
            errors::OWN_TABLE_USED,
            handed_on::is_first_to_say_apart(),
        ),
    };
    if is_new {
        let entry = errors::of_machines_table(error);
        events::emit(&Event {
            reason: entry.what,
            done,
            hint: entry.todo,
            ..Event::new(kind)
        });
    }
    !refuses
}

/// Attaches to that or, where none is named, to the system's or the user's.
fn attach(named: Option<&CStr>) -> Result<Table, Box<lock_table::TableError>> {
    const TRIES: u32 = 16;
    if let Some(path) = named {
        return Table::attach(path).map_err(Box::new);
    }
    let mut result = Table::attach(&lock_table::default_path());
    for _ in 0..TRIES {
        match &result {
            // Others who start at the same time have settled on another directory.
            Err(error) if error.fault() == Fault::NoDirectory => {}
            _ => break,
        }
        result = Table::attach(&lock_table::default_path());
    }
    result.map_err(Box::new)
}

/// Said once for a program and what it starts.
fn not_fenced(error: &lock_table::TableError, done: &str) {
    if handed_on::is_first_to_say_unfenced() {
        let reason = error.to_string();
        events::emit(&Event {
            reason: &reason,
            done,
            ..Event::new(Kind::TableError)
        });
    }
}
