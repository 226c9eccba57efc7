//! This process: the constructor, and what fork, vfork and exec do to it.

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering::*};
use std::cell::UnsafeCell;
use std::ffi::CString;

use lock_table::Table;
use once_cell::race::OnceBox;
use policy::{Mode, OnTableError, Policy};

use crate::events::{self, Event, Kind};
use crate::files::{self, POSIX_LOCKED};
use crate::registry::{self, Registry};
use crate::thread::{self, Thread};
use crate::{descriptors, mappings, raw, second};

/// Nothing is known yet, or the process is not fenced: every call passes through.
const PASSING: u32 = 0;
const FENCED: u32 = 1;
/// There is no table, and the policy says that files are not to be opened then.
const REFUSING: u32 = 2;

static STATE: AtomicU32 = AtomicU32::new(PASSING);
static PID: AtomicU32 = AtomicU32::new(0);
static GENERATION: AtomicU32 = AtomicU32::new(1);
static MEMBARRIER: AtomicBool = AtomicBool::new(false);
/// A word that the kernel zeroes in every forked child, also one that was forked behind our back.
static SAME_PROCESS: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());
static TABLE: OnceBox<Table> = OnceBox::new();
static POLICY: OnceBox<Policy> = OnceBox::new();
static PROGRAM: OnceBox<String> = OnceBox::new();
static ENVIRONMENT: OnceBox<Vec<CString>> = OnceBox::new();

/// Descriptors kept across exec for the sake of POSIX locks, until their file is met again.
const KEPT: &CStr = c"PAGEFENCE_KEPT";
static KEPT_NUMBERS: [AtomicI32; 64] = [const { AtomicI32::new(-1) }; 64];

pub fn pid() -> u32 {
    PID.load(Relaxed)
}

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

pub fn program() -> &'static str {
    PROGRAM.get().map_or("", String::as_str)
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
    let word = SAME_PROCESS.load(Relaxed);
    // SAFETY: null, or a page that is mapped for good.
    if unsafe { word.as_ref() }.is_some_and(|w| w.load(Relaxed) == 0) {
        forked_behind_our_back();
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
    thread.after_vfork.set(0);
    false
}

/// Whether descriptors are followed: not in a vfork child, whose numbers are not the parent's.
#[inline]
pub fn follows_numbers() -> bool {
    match STATE.load(Relaxed) {
        FENCED => active().is_some(),
        state => state == REFUSING,
    }
}

pub fn refuses() -> bool {
    STATE.load(Relaxed) == REFUSING
}

/// With no table and `on_table_error = "refuse"`: whether this file would be enforced.
pub fn would_be_fenced(fd: i32) -> bool {
    let Some(policy) = policy() else { return false };
    let Ok(stat) = raw::fstat(fd) else {
        return false;
    };
    let name = policy::filesystem_name(raw::filesystem_magic(fd).unwrap_or(0) as u64);
    if descriptors::identity(&stat).is_none()
        || (!stat.is_block_device() && policy::is_kernel_filesystem(name))
    {
        return false;
    }
    let mut buffer = [0u8; 4096];
    let path = files::path_of(fd, &mut buffer);
    let settings = policy.settings_for(path, program(), name);
    settings.mode == Mode::Enforce && settings.on_table_error == OnTableError::Refuse
}

fn variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: getenv reads the environment, which nobody changes while the constructor runs.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: non-null: a C string that stays where it is.
    (!value.is_null())
        .then(|| unsafe { CStr::from_ptr(value) })
        .filter(|v| !v.is_empty())
}

fn text(name: &CStr) -> Option<&'static str> {
    variable(name).and_then(|v| v.to_str().ok())
}

/// The constructor: everything that may allocate, read files or fail is done here.
pub fn init() {
    // SAFETY: a plain call.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return;
    }
    PID.store(raw::getpid(), Relaxed);
    let exe = std::fs::read_link("/proc/self/exe").ok();
    let name = exe.and_then(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()));
    let _ = PROGRAM.set(Box::new(name.unwrap_or_default()));
    thread::init();
    thread::current().forget_parent();
    events::init(
        text(c"PAGEFENCE_LOG"),
        variable(c"PAGEFENCE_TRACE"),
        variable(c"PAGEFENCE_SUMMARY"),
    );
    let policy = read_policy();
    let path = table_path(&policy);
    let defaults = *policy.defaults();
    let idle = policy.is_off();
    let _ = POLICY.set(Box::new(policy));
    remember_environment(defaults.keep_preload);
    if idle {
        return;
    }
    watch_for_forks();
    MEMBARRIER.store(raw::membarrier_register(), Relaxed);
    match Table::attach(&path) {
        Ok(table) => {
            descriptors::claim_as_ours(table.probe_fd());
            crate::ranges::tell_reaped(&table);
            let _ = TABLE.set(Box::new(table));
            take_kept_descriptors();
            STATE.store(FENCED, Release);
        }
        Err(error) => {
            let refuse = defaults.on_table_error == OnTableError::Refuse;
            not_fenced(
                &error,
                if refuse {
                    "files are not opened"
                } else {
                    "not fenced"
                },
            );
            STATE.store(if refuse { REFUSING } else { PASSING }, Release);
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
    let policy = match text(c"PAGEFENCE_POLICY").map(|p| Policy::load(p.as_ref())) {
        None => Policy::built_in(),
        Some(Ok(policy)) => policy,
        Some(Err(error)) => {
            events::say(format_args!(
                "pagefence: {error}\npagefence: the built-in policy is used instead: every file is enforced\n"
            ));
            Policy::built_in()
        }
    };
    policy.with_overrides(overrides)
}

/// Where the table is: the environment, the policy, the system's, the user's.
fn table_path(policy: &Policy) -> CString {
    if let Some(path) = variable(c"PAGEFENCE_TABLE") {
        return path.to_owned();
    }
    if let Some(path) = policy
        .table()
        .and_then(|p| CString::new(p.as_os_str().as_encoded_bytes()).ok())
    {
        return path;
    }
    lock_table::default_path()
}

/// Our variables as they were, for programs that exec with an environment of their own making.
fn remember_environment(keep: bool) {
    let mut saved = Vec::new();
    if keep {
        for (name, value) in std::env::vars_os() {
            let (name, value) = (name.as_encoded_bytes(), value.as_encoded_bytes());
            if name == b"LD_PRELOAD" || name.starts_with(b"PAGEFENCE_") && name != KEPT.to_bytes() {
                saved.extend(CString::new([name, b"=", value].concat()));
            }
        }
    }
    let _ = ENVIRONMENT.set(Box::new(saved));
}

// ---- fork -----------------------------------------------------------------------------------------

struct Stash(UnsafeCell<Option<Registry>>);
// SAFETY: written and read only between prepare and parent/child, by the thread that forks.
unsafe impl Sync for Stash {}
static FORKING: Stash = Stash(UnsafeCell::new(None));

fn watch_for_forks() {
    if let Some(page) = raw::map_anonymous(4096)
        && raw::wipe_on_fork(page, 4096)
    {
        let word = page.cast::<AtomicU32>();
        // SAFETY: a fresh page of ours.
        unsafe { (*word).store(1, Relaxed) };
        SAME_PROCESS.store(word, Release);
    }
    // SAFETY: the handlers stay loaded.
    unsafe {
        libc::pthread_atfork(
            Some(before_fork),
            Some(after_fork_in_parent),
            Some(after_fork_in_child),
        )
    };
}

extern "C" fn before_fork() {
    if active().is_none() {
        return;
    }
    descriptors::all_shared();
    let registry = registry::lock();
    // SAFETY: we hold the registry lock: no other fork is between prepare and parent.
    unsafe { *FORKING.0.get() = Some(registry) };
}

fn take_stash() -> Option<Registry> {
    // SAFETY: as above; in the child there is no other thread.
    unsafe { (*FORKING.0.get()).take() }
}

extern "C" fn after_fork_in_parent() {
    if registry::is_held() && raw::getpid() == pid() {
        drop(take_stash());
    }
}

extern "C" fn after_fork_in_child() {
    if let Some(registry) = take_stash() {
        become_child(registry);
    }
}

/// Without a trip through `pthread_atfork` (a raw clone): only if nobody was in the registry.
#[cold]
fn forked_behind_our_back() {
    if registry::is_held() {
        STATE.store(PASSING, Release);
        events::emit(&Event::uncovered(
            0,
            "forked past libc while a file was being opened: this child is not fenced",
        ));
        return;
    }
    descriptors::all_shared();
    become_child(registry::lock());
}

fn become_child(registry: Registry) {
    PID.store(raw::getpid(), Relaxed);
    GENERATION.fetch_add(1, AcqRel);
    let thread = thread::current();
    thread.after_vfork.set(0);
    thread.forget_parent();
    // SAFETY: null, or a page that is mapped for good.
    if let Some(word) = unsafe { SAME_PROCESS.load(Acquire).as_ref() } {
        word.store(1, Release);
    }
    for cell in &KEPT_NUMBERS {
        let kept = cell.swap(-1, AcqRel);
        if kept >= 0 {
            descriptors::forget_ours(kept);
            raw::close(kept);
        }
    }
    MEMBARRIER.store(raw::membarrier_register(), Relaxed);
    let attached = table().map(Table::reattach_in_child);
    if let Some(Err(error)) = attached {
        STATE.store(PASSING, Release);
        registry::reset_in_child(registry);
        let reason = Reason::of(&error);
        events::emit(&Event::uncovered(0, reason.text()));
        return;
    }
    descriptors::reset_in_child();
    files::reregister_in_child();
    registry::reset_in_child(registry);
    mappings::reregister_in_child();
}

/// An error's text without allocation.
struct Reason {
    bytes: [u8; 400],
    used: usize,
}

impl Reason {
    fn of(error: &lock_table::TableError) -> Reason {
        use core::fmt::Write;
        let mut reason = Reason {
            bytes: [0; 400],
            used: 0,
        };
        let _ = write!(reason, "a forked child can't join: {error}");
        reason
    }
    fn text(&self) -> &str {
        core::str::from_utf8(self.bytes.get(..self.used).unwrap_or(&[]))
            .unwrap_or("a forked child can't join")
    }
}

impl core::fmt::Write for Reason {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let take = text.len().min(self.bytes.len() - self.used);
        if let (Some(to), Some(from)) = (
            self.bytes.get_mut(self.used..self.used + take),
            text.as_bytes().get(..take),
        ) {
            to.copy_from_slice(from);
            self.used += take;
        }
        Ok(())
    }
}

/// A child that shares our open file descriptions is being started (vfork, posix_spawn, `SCM_RIGHTS`).
pub fn sharing() {
    if active().is_some() {
        descriptors::all_shared();
    }
}

/// A call that names no file of ours but may change one; told once.
pub fn uncovered_call(what: &str) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if active().is_some() && !TOLD.swap(true, AcqRel) {
        events::emit(&Event::uncovered(0, what));
    }
}

/// io_uring goes past every hook: refused as container runtimes do, or allowed and told.
pub fn refuses_io_uring() -> bool {
    let Some(policy) = policy().filter(|_| active().is_some()) else {
        return false;
    };
    let refuse = policy.defaults().io_uring == policy::IoUring::Refuse;
    let done = if refuse {
        "refused with ENOSYS"
    } else {
        "passed through"
    };
    events::emit(&Event {
        done,
        ..Event::uncovered(0, "io_uring")
    });
    refuse
}

// ---- our own numbers ------------------------------------------------------------------------------

/// The program wants this number for itself.
pub fn move_ours_away(fd: i32) {
    let registry = registry::lock();
    let Ok(to) = lock_table::raise_fd_copy(fd) else {
        return;
    };
    let replaced = table().is_some_and(|t| t.probe_fd() == fd);
    if let Some(table) = table().filter(|_| replaced) {
        table.set_probe_fd(to);
    }
    if !(replaced
        || events::replace_fd(fd, to)
        || files::all().any(|(_, f)| second::replace(f, fd, to)))
    {
        raw::close(to);
        return;
    }
    drop(registry);
    descriptors::claim_as_ours(to);
    descriptors::forget_ours(fd);
}

/// A descriptor that an earlier image of this process kept for this file.
pub fn kept_for(id: lock_table::FileId) -> impl Iterator<Item = i32> {
    KEPT_NUMBERS.iter().filter_map(move |cell| {
        let fd = cell.load(Acquire);
        let same =
            fd >= 0 && raw::fstat(fd).ok().as_ref().and_then(descriptors::identity) == Some(id);
        (same && cell.compare_exchange(fd, -1, AcqRel, Acquire).is_ok()).then_some(fd)
    })
}

fn take_kept_descriptors() {
    let numbers = text(KEPT)
        .unwrap_or("")
        .split(',')
        .filter_map(|n| n.parse::<i32>().ok());
    for (cell, fd) in KEPT_NUMBERS.iter().zip(numbers) {
        if raw::fstat(fd).is_ok_and(|s| descriptors::identity(&s).is_some()) {
            descriptors::claim_as_ours(fd);
            cell.store(fd, Release);
        }
    }
    // SAFETY: in the constructor, before the program runs.
    unsafe { libc::unsetenv(KEPT.as_ptr()) };
}

// ---- exec -----------------------------------------------------------------------------------------

const MOST_VARIABLES: usize = 1024;

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// The environment for a program that is about to be started: what the caller gave, and our variables
/// unless the program removed them from its own environment on purpose.
fn with_ours<R>(
    given: *const *const c_char,
    extra: Option<*const c_char>,
    call: impl FnOnce(*const *const c_char) -> R,
) -> R {
    // SAFETY: libc's own variable.
    let current = unsafe { environ };
    if given.is_null() || (given == current && extra.is_none()) {
        return call(given);
    }
    let mut list = [core::ptr::null::<c_char>(); MOST_VARIABLES];
    let room = MOST_VARIABLES - 32;
    let mut used = 0;
    loop {
        // SAFETY: `given` is the program's own null-terminated list, which exec is about to read.
        let entry = unsafe { *given.add(used) };
        if entry.is_null() {
            break;
        }
        match list.get_mut(used).filter(|_| used < room) {
            Some(cell) => *cell = entry,
            None => return call(given),
        }
        used += 1;
    }
    let ours = ENVIRONMENT.get().map_or(&[][..], Vec::as_slice);
    let missing = ours
        .iter()
        .filter(|v| given != current && has(current, v) && !has(given, v))
        .map(|v| v.as_ptr());
    for entry in missing.take(24).chain(extra) {
        if let Some(cell) = list.get_mut(used) {
            *cell = entry;
            used += 1;
        }
    }
    call(list.as_ptr())
}

/// Whether the list has a variable of this name.
fn has(list: *const *const c_char, variable: &CString) -> bool {
    let name = variable
        .to_bytes()
        .split(|b| *b == b'=')
        .next()
        .unwrap_or(&[]);
    if list.is_null() {
        return false;
    }
    for i in 0..usize::MAX {
        // SAFETY: a null-terminated list of C strings, as above.
        let entry = unsafe { *list.add(i) };
        if entry.is_null() {
            return false;
        }
        // SAFETY: as above.
        let bytes = unsafe { CStr::from_ptr(entry) }.to_bytes();
        if bytes
            .strip_prefix(name)
            .is_some_and(|rest| rest.first() == Some(&b'='))
        {
            return true;
        }
    }
    false
}

/// posix_spawn: a child with this environment.
pub fn spawn<R>(given: *const *const c_char, real: impl FnOnce(*const *const c_char) -> R) -> R {
    sharing();
    with_ours(given, None, real)
}

/// The exec family: this process becomes another program; returns only if that failed.
pub fn exec<R>(given: *const *const c_char, real: impl FnOnce(*const *const c_char) -> R) -> R {
    if active().is_none() {
        return with_ours(given, None, real);
    }
    // Our second descriptors close at exec, and with them would go the POSIX locks on their files.
    let mut line = [0u8; 512];
    let mut used = 0;
    put(&mut line, &mut used, KEPT.to_bytes());
    let mut separator = b"=".as_slice();
    for fd in numbers_to_keep() {
        raw::set_close_on_exec(fd, false);
        put(&mut line, &mut used, separator);
        put_number(&mut line, &mut used, fd);
        separator = b",";
    }
    let any = separator == b",";
    let result = with_ours(given, any.then_some(line.as_ptr().cast()), real);
    let errno = raw::errno();
    numbers_to_keep().for_each(|fd| raw::set_close_on_exec(fd, true));
    raw::set_errno(errno);
    result
}

fn numbers_to_keep() -> impl Iterator<Item = i32> {
    let locked = files::all()
        .filter(|(_, f)| f.has(POSIX_LOCKED))
        .flat_map(|(_, f)| second::numbers(f));
    let kept = KEPT_NUMBERS
        .iter()
        .map(|c| c.load(Acquire))
        .filter(|fd| *fd >= 0);
    locked.chain(kept).take(60)
}

fn put(line: &mut [u8], used: &mut usize, bytes: &[u8]) {
    if let Some(to) = line.get_mut(*used..*used + bytes.len()) {
        to.copy_from_slice(bytes);
        *used += bytes.len();
    }
}

fn put_number(line: &mut [u8], used: &mut usize, number: i32) {
    let mut digits = [0u8; 12];
    let mut at = digits.len();
    let mut left = number.max(0);
    loop {
        at -= 1;
        if let Some(d) = digits.get_mut(at) {
            *d = b'0' + (left % 10) as u8;
        }
        left /= 10;
        if left == 0 {
            break;
        }
    }
    put(line, used, digits.get(at..).unwrap_or(&[]));
}
