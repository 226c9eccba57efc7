//! The start: the constructor, before the program runs.

use core::ffi::CStr;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use lock_table::Table;
use policy::Policy;

use crate::calls::{numbers, unseen};
use crate::hold::{give_back, ranges, slots};
use crate::life::variables::{text, variable};
use crate::life::{exec, fork, gate, handed_on, no_rings};
use crate::tell::counters::{self, Counter};
use crate::tell::events::{self, Event, Kind};
use crate::tell::{once, records, stderr, trace};
use crate::what::file::POSIX_LOCKED;
use crate::what::{changes, descriptors, early, names};
use crate::who::lists::Mapped;
use crate::who::process;
use crate::who::state::Orders;
use crate::who::thread::{self, Thread};
use crate::who::{due, lineage, scratch};

/// The constructor: everything that may allocate, read files or fail is done here.
pub fn init() {
    // SAFETY: a plain call.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return;
    }
    if !text(handed_on::NAME).is_none_or(gate::take) {
        // Started behind a filter that doesn't let us start: said by whoever put it on.
        gate::refuse_all();
        return;
    }
    gate::init(no_rings::came_alone());
    kernel::known::when_no_memory(once::no_memory);
    kernel::known::set_pid(kernel::getpid());
    process::know_program(names::program());
    thread::init(at_thread_exit);
    thread::current().forget_parent();
    scratch::init();
    // The clock's first reading searches for it, which takes room: no hook does that.
    let _ = kernel::now_ns();
    records::init(
        text(c"PAGEFENCE_LOG"),
        variable(c"PAGEFENCE_TRACE"),
        variable(c"PAGEFENCE_SUMMARY"),
    );
    trace::number().into_iter().for_each(changes::claim);
    let policy = read_policy();
    let named = named_table(&policy);
    let defaults = *policy.defaults();
    let idle = policy.is_off();
    let no_rings = policy.enforces() && defaults.io_uring == policy::IoUring::RefuseAll;
    if no_rings {
        no_rings::announce();
    }
    process::know_policy(policy);
    exec::remember_environment(defaults.keep_preload);
    if idle {
        return;
    }
    fork::watch();
    lineage::this_is_the_process(); // a constructor before ours may have forked
    process::give_orders(Orders {
        forked: fork::behind_our_back,
        child_is_gone: due::look_if_due,
    });
    due::who_looks(unseen::look_if_cheap);
    match attach(named) {
        Ok(table) => {
            joined(table);
            if no_rings {
                no_rings::refuse_all();
            }
        }
        Err(error) => {
            let done = process::without_table("not fenced");
            not_fenced(&error, done);
        }
    }
}

/// From now on the process is fenced.
fn joined(table: Table) {
    changes::claim(table.probe_fd());
    ranges::tell_reaped(&table);
    process::join(table);
    exec::take_kept_descriptors();
    process::start_fencing();
    counters::count(Counter::Processes, 1);
    unseen::look_at_first();
    catch_up();
}

/// Said once for a program and what it starts.
fn not_fenced(error: &lock_table::TableError, done: &str) {
    const SAID: &CStr = c"PAGEFENCE_SAID_UNFENCED";
    if variable(SAID).is_none() {
        let reason = error.to_string();
        events::emit(&Event {
            reason: &reason,
            done,
            ..Event::new(Kind::TableError)
        });
        // SAFETY: in the constructor, before the program runs.
        unsafe { libc::setenv(SAID.as_ptr(), c"1".as_ptr(), 1) };
    }
}

fn read_policy() -> Policy {
    let (overrides, unknown) =
        policy::Overrides::from_words(text(c"PAGEFENCE_MODE"), text(c"PAGEFENCE_ISOLATION"));
    if let Some(name) = unknown {
        stderr::say(format_args!(
            "pagefence: {name}: the value is not understood and is ignored\n"
        ));
    }
    let path = variable(c"PAGEFENCE_POLICY").map(|path| OsStr::from_bytes(path.to_bytes()));
    let policy = match path.map(|path| Policy::load(path.as_ref())) {
        None => Policy::built_in(),
        Some(Ok(policy)) => policy,
        Some(Err(error)) => {
            // Two tables on one file exclude nothing.
            let table = match (&error.table, variable(c"PAGEFENCE_TABLE")) {
                (Some(_), _) | (_, Some(_)) => "",
                _ => {
                    ", and its lock table, if it names one, is not known: programs that use that one are not excluded"
                }
            };
            stderr::say(format_args!(
                "pagefence: {error}\npagefence: the built-in policy is used instead: every file is enforced{table}\n"
            ));
            Policy::instead_of(&error)
        }
    };
    policy.with_overrides(overrides)
}

/// The table that is named: by the environment, or by the policy.
fn named_table(policy: &Policy) -> Option<CString> {
    if let Some(path) = variable(c"PAGEFENCE_TABLE") {
        return Some(path.to_owned());
    }
    CString::new(policy.table()?.as_os_str().as_encoded_bytes()).ok()
}

/// Attaches to that or, where none is named, to the system's or the user's.
fn attach(named: Option<CString>) -> Result<Table, Box<lock_table::TableError>> {
    const TRIES: u32 = 16;
    if let Some(path) = named {
        return Table::attach(&path).map_err(Box::new);
    }
    let mut result = Table::attach(&lock_table::default_path());
    for _ in 0..TRIES {
        match &result {
            // Others who start at the same time have settled on another directory.
            Err(error) if error.fault() == lock_table::Fault::NoDirectory => {}
            _ => break,
        }
        result = Table::attach(&lock_table::default_path());
    }
    result.map_err(Box::new)
}

/// What constructors that ran before ours did to numbers.
fn catch_up() {
    for fd in early::locked_ones() {
        if let Some(pinned) = descriptors::pin(fd) {
            pinned.file.mark(POSIX_LOCKED);
            pinned.unpin();
        }
    }
    early::streamed_ones().for_each(numbers::streamed);
}

/// A thread ends: what its calls left is given back, and its slots.
fn at_thread_exit(thread: &Thread) {
    give_back::all(thread);
    thread.lists.iter().for_each(Mapped::give_back);
    lineage::lent(thread);
    for frame in &thread.frames {
        let slot = frame.slot.replace(0);
        if slot != 0 {
            slots::give_slot_back(slot);
        }
    }
}
