//! The start: the constructor, before the program runs.

use core::ffi::CStr;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use policy::Policy;

use crate::calls::{numbers, unseen};
use crate::hold::{give_back, slots};
use crate::life::variables::{text, variable};
use crate::life::{exec, fork, gate, handed_on, join, no_rings};
use crate::tell::counters::{self, Counter};
use crate::tell::{once, records, stderr, trace};
use crate::what::file::POSIX_LOCKED;
use crate::what::{descriptors, early, own};
use crate::who::lists::Mapped;
use crate::who::state::Orders;
use crate::who::thread::Thread;
use crate::who::{due, ending, lineage, process};

/// The constructor: the environment is looked at, and the policy read. The lock table waits for the first file that is fenced
/// (see `join`).
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
    if !gate::init(no_rings::came_alone()) {
        // Supervised, as is all that it starts: two of one fence would wait for each other.
        return;
    }
    kernel::known::when_no_memory(once::no_memory);
    kernel::known::set_pid(kernel::getpid());
    ending::init(at_thread_exit);
    // The clock's first reading searches for it, which takes room: no hook does that.
    let _ = kernel::now_ns();
    let has = |name| variable(name).is_some();
    handed_on::hear(has(handed_on::SAID_NAME), has(handed_on::APART));
    records::init(
        text(c"PAGEFENCE_LOG"),
        variable(c"PAGEFENCE_TRACE"),
        variable(c"PAGEFENCE_SUMMARY"),
    );
    trace::takes_numbers_by(own::OF_RING);
    stand_for_another();
    let policy = read_policy();
    if policy.records_contents() {
        trace::has_room_for_contents();
    }
    let defaults = *policy.defaults();
    let no_rings = policy.enforces() && defaults.io_uring == policy::IoUring::RefuseAll;
    if no_rings {
        no_rings::announce();
    }
    let named = named_table(&policy);
    let joins_now = no_rings || policy.may_refuse() || join::is_due(named.as_deref());
    let idle = policy.is_off();
    if policy.for_all().is_none() {
        process::know_program();
    }
    process::know_policy(policy);
    exec::remember_environment(defaults.keep_preload);
    if idle {
        return;
    }
    join::know_table(named);
    fork::watch();
    process::give_orders(Orders {
        forked: fork::behind_our_back,
        child_is_gone: due::look_if_due,
    });
    due::who_looks(unseen::look_if_cheap);
    process::who_joins(join::now);
    start(joins_now, no_rings);
}

/// From now on the process is fenced.
fn start(joins_now: bool, no_rings: bool) {
    exec::take_kept_descriptors();
    process::start_fencing();
    let has_mapped = early::has_mapped();
    if (joins_now || has_mapped) && !process::enters_table() {
        return handed_on::pass_on();
    }
    counters::count(Counter::Processes, 1);
    if has_mapped {
        unseen::look_at_first();
    }
    catch_up();
    handed_on::pass_on();
    if no_rings {
        no_rings::refuse_all();
    }
}

/// In a supervisor: it is its program that the policy means, and not what the supervisor itself may start.
fn stand_for_another() {
    const PROGRAM: &CStr = c"PAGEFENCE_PROGRAM";
    if let Some(program) = variable(PROGRAM) {
        process::stand_for(program.to_bytes());
        // SAFETY: in the constructor, before the program runs.
        unsafe { libc::unsetenv(PROGRAM.as_ptr()) };
    }
}

fn read_policy() -> Policy {
    let (overrides, unknown) = policy::Overrides::from_words(
        text(c"PAGEFENCE_MODE"),
        text(c"PAGEFENCE_ISOLATION"),
        text(c"PAGEFENCE_RECORD"),
    );
    if let Some(name) = unknown {
        stderr::say(format_args!(
            "pagefence: {name}: the value is not understood and is ignored\n"
        ));
    }
    let path = variable(c"PAGEFENCE_POLICY").map(|path| OsStr::from_bytes(path.to_bytes()));
    let policy = match Policy::chosen(path.map(OsStr::as_ref)) {
        Ok(policy) => policy,
        Err(error) => {
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
    // In a forked child what the record says may be the parent's yet.
    let _ = process::active();
    give_back::all(thread);
    thread.lists.iter().for_each(Mapped::give_back);
    lineage::lent(&thread.after_vfork);
    for frame in &thread.frames {
        let slot = frame.slot.replace(0);
        if slot != 0 {
            slots::give_slot_back(slot);
        }
    }
}
