//! This process: the constructor, and what is known everywhere of it.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use lock_table::Table;
use lock_table::summary::Counter;
use once_cell::race::OnceBox;
use policy::{Mode, OnTableError, Policy, Settings};

use crate::raw;
use crate::tell::events::{self, Event, Kind};
use crate::text::Text;
use crate::what::{early, names, own, unseen};
use crate::who::thread::{self, Thread};
use crate::who::{exec, fork, handed_on, sandbox, scratch};
pub use kernel::known::pid;

/// Nothing is known yet, or the process is not fenced: every call passes through.
const PASSING: u32 = 0;
const FENCED: u32 = 1;
/// There is no table, and the policy says that files are not to be opened then.
const REFUSING: u32 = 2;

static STATE: AtomicU32 = AtomicU32::new(PASSING);
static GENERATION: AtomicU32 = AtomicU32::new(1);
static MEMBARRIER: AtomicBool = AtomicBool::new(false);
static TABLE: OnceBox<Table> = OnceBox::new();
static POLICY: OnceBox<Policy> = OnceBox::new();
static PROGRAM: OnceBox<Vec<u8>> = OnceBox::new();

/// Counts forks: a thread record of another generation is the parent's.
pub fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

pub fn table() -> Option<&'static Table> {
    TABLE.get()
}

pub fn policy() -> Option<&'static Policy> {
    POLICY.get()
}

/// The file name of the executable.
pub fn program() -> &'static [u8] {
    PROGRAM.get().map_or(&[], Vec::as_slice)
}

pub fn reached_by_membarrier() -> bool {
    MEMBARRIER.load(Relaxed)
}

/// The calling thread's record, if this process is fenced and this is not a vfork child.
#[inline]
pub fn active() -> Option<&'static Thread> {
    (STATE.load(Relaxed) == FENCED).then(own_thread)?
}

#[inline]
fn own_thread() -> Option<&'static Thread> {
    let thread = thread::current();
    if thread.after_vfork.get() != 0 && is_vfork_child(thread) {
        return None;
    }
    if !fork::is_same_process() {
        if fork::is_shared_memory() {
            return (raw::getpid() == pid()).then_some(thread);
        }
        fork::behind_our_back();
        return (STATE.load(Relaxed) == FENCED).then_some(thread);
    }
    Some(thread)
}

/// The flag is set in the parent as well, which shares its memory with the child: the parent's next
/// call takes it away.
#[cold]
fn is_vfork_child(thread: &Thread) -> bool {
    if raw::getpid() != pid() {
        return true;
    }
    fork::lent(thread);
    unseen::look_if_due();
    false
}

/// How this process and the caller stand to the fence.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Passing,
    Fenced,
    Refusing,
    /// It uses the memory of a process that is fenced, and is another.
    VforkChild,
}

pub fn standing() -> Standing {
    match STATE.load(Relaxed) {
        FENCED if active().is_some() => Standing::Fenced,
        FENCED => Standing::VforkChild,
        REFUSING => Standing::Refusing,
        _ => Standing::Passing,
    }
}

/// Whether the clock can be read without a system call.
pub fn has_vdso() -> bool {
    // SAFETY: a plain call.
    unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) != 0 }
}

/// A `longjmp` is about to take this thread's stack back to `target`.
pub fn unwound_to(target: usize) {
    if let Some(thread) = active() {
        thread.unwound_to(target);
    }
}

/// In a forked child.
pub fn become_another() {
    kernel::known::set_pid(raw::getpid());
    GENERATION.fetch_add(1, AcqRel);
    MEMBARRIER.store(raw::membarrier_register(), Relaxed);
}

/// From now on every call passes through: that has been told.
pub fn stop_fencing() {
    STATE.store(PASSING, Release);
}

/// Whether descriptors are followed: not in a vfork child, whose numbers are not the parent's.
#[inline]
pub fn follows_numbers() -> bool {
    match STATE.load(Relaxed) {
        FENCED => active().is_some(),
        state => state == REFUSING,
    }
}

/// The same, or files that would be fenced are not opened any more: as the policy says. What was done, for the report.
pub fn without_table(passing: &'static str) -> &'static str {
    if policy().is_some_and(Policy::may_refuse) {
        STATE.store(REFUSING, Release);
        "files that may not be used so are not opened"
    } else {
        stop_fencing();
        passing
    }
}

pub fn refuses() -> bool {
    STATE.load(Relaxed) == REFUSING
}

/// With no table and `on_table_error = "refuse"`: whether this file would be enforced.
pub fn would_be_fenced(fd: i32) -> bool {
    scratch::roomy(|| is_refused(fd))
}

fn is_refused(fd: i32) -> bool {
    let Ok(stat) = raw::fstat(fd) else {
        return false;
    };
    let enforced =
        |s: Settings| s.mode == Mode::Enforce && s.on_table_error == OnTableError::Refuse;
    names::ask(fd, &stat).settings.is_some_and(enforced)
}

fn variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: getenv reads the environment, which nobody changes while the constructor runs.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: non-null: a C string that stays where it is.
    (!value.is_null())
        .then(|| unsafe { CStr::from_ptr(value) })
        .filter(|v| !v.is_empty())
}

pub fn text(name: &CStr) -> Option<&'static str> {
    variable(name).and_then(|v| v.to_str().ok())
}

/// The constructor: everything that may allocate, read files or fail is done here.
pub fn init() {
    // SAFETY: a plain call.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return;
    }
    if !text(handed_on::NAME).is_none_or(handed_on::take) {
        // Started behind a filter that doesn't let us start: said by whoever put it on.
        sandbox::refuse_all();
        return;
    }
    sandbox::init();
    kernel::known::when_no_memory(tell_no_memory);
    kernel::known::set_pid(raw::getpid());
    let _ = PROGRAM.set(Box::new(names::program()));
    thread::init();
    thread::current().forget_parent();
    scratch::init();
    // The clock's first reading searches for it, which takes room: no hook does that.
    let _ = kernel::now_ns();
    events::init(
        text(c"PAGEFENCE_LOG"),
        variable(c"PAGEFENCE_TRACE"),
        variable(c"PAGEFENCE_SUMMARY"),
    );
    let policy = read_policy();
    let named = named_table(&policy);
    let defaults = *policy.defaults();
    let idle = policy.is_off();
    let _ = POLICY.set(Box::new(policy));
    exec::remember_environment(defaults.keep_preload);
    if idle {
        return;
    }
    fork::watch();
    fork::this_is_the_process(); // a constructor before ours may have forked
    MEMBARRIER.store(raw::membarrier_register(), Relaxed);
    match attach(named) {
        Ok(table) => {
            own::claim(table.probe_fd());
            crate::hold::ranges::tell_reaped(&table);
            let _ = TABLE.set(Box::new(table));
            exec::take_kept_descriptors();
            STATE.store(FENCED, Release);
            events::count(Counter::Processes, 1);
            unseen::look_at_first();
            early::catch_up();
        }
        Err(error) => {
            let done = without_table("not fenced");
            not_fenced(&error, done);
        }
    }
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
        events::say(format_args!(
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
            events::say(format_args!(
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

/// Now and then: is the table still where others look for it?
pub fn watch_table() {
    static LOOKS: AtomicU32 = AtomicU32::new(0);
    static TOLD: AtomicBool = AtomicBool::new(false);
    let due = LOOKS.fetch_add(1, Relaxed).is_multiple_of(64);
    if due && table().is_some_and(Table::was_removed) && !TOLD.swap(true, AcqRel) {
        events::emit(&Event {
            reason: "the lock table was removed: who starts from now on has another, and is not excluded",
            done: "reported",
            ..Event::new(Kind::TableError)
        });
    }
}

/// The table excludes nobody any more: told once, with what became of the call that met it first.
#[cold]
pub fn tell_damaged(table: &Table, refused: bool) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    scratch::roomy(|| {
        if let Some(damage) = table.damage()
            && !TOLD.swap(true, AcqRel)
        {
            let reason = Text::<1200>::of(format_args!("{damage}"));
            events::emit(&Event {
                reason: reason.as_str(),
                done: if refused { "ENOLCK" } else { "passed through" },
                ..Event::new(Kind::TableError)
            });
        }
    });
}

/// A limit (`ulimit -v`) or a full machine: told once.
#[cold]
pub fn tell_no_memory() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, AcqRel) {
        events::emit(&Event::uncovered(
            0,
            "no memory is left to note what else is opened or mapped (ulimit -v?)",
        ));
    }
}

/// A call that names no file of ours but may change one; told once.
pub fn uncovered_call(what: &str) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if active().is_some() && !TOLD.swap(true, AcqRel) {
        events::emit(&Event::uncovered(0, what));
    }
}

/// The program has the number that it wanted, and ours there is closed.
pub fn surrendered() {
    if table().is_some_and(|t| !t.relive()) {
        stop_fencing();
        events::emit(&Event::uncovered(
            0,
            "the program closed what kept this process in the lock table: it is not fenced any more",
        ));
    }
}
