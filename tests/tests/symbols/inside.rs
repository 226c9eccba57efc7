//! What libc does by itself, past every name: each of its functions that comes to a system call of the table, read from its
//! machine code, is hooked, or says in `inside.toml` why nothing is lost by that. Not of glibc 2.41 and later, where many of
//! them hand the number to one function that makes the call: what they call can't be read this way.

use crate::{hooks, kernel_numbers, numbers, table};
use pagefence_tests::artefacts;
use pagefence_tests::exports::versions;
use pagefence_tests::reach::{Code, Reach, UNKNOWN};
use pagefence_tests::reasons::{Names, inside, names, words};
use std::collections::BTreeMap;

/// These are of the table for what a program does by them. What libc does by them is to its own memory, to its own numbers
/// or to its own processes, before or after the calls that count here; and the handlers that it sets run its own code.
const OF_ITS_OWN: &str = "
    munmap mprotect mremap madvise msync ioctl fcntl fstat prctl clone clone3 fork vfork execve unshare setns seccomp
    rt_sigaction";

struct Libc {
    code: Code,
    hooks: Names,
    /// What counts, by number.
    calls: BTreeMap<u32, String>,
    reasons: Names,
}

impl Libc {
    fn read() -> Option<Libc> {
        if versions(&artefacts::libc()).contains_key("sched_setattr") {
            eprintln!("left out: this glibc is 2.41 or later");
            return None;
        }
        let own = words(OF_ITS_OWN);
        let covered = numbers(&table());
        let counts = |name: &String| covered.contains(name) && !own.contains(name);
        let mut calls = kernel_numbers();
        calls.retain(|_, name| counts(name));
        calls.insert(UNKNOWN, "one that isn't known".to_owned());
        Some(Libc {
            code: Code::read(&artefacts::libc()),
            hooks: hooks(&table()),
            calls,
            reasons: names(|reason| &reason.libc),
        })
    }

    /// The calls that count and that a function comes to by itself.
    fn comes_to(&self, name: &str) -> Vec<&str> {
        let Reach { numbers, .. } = self.code.reach(name, &self.reasons);
        let called = numbers.iter().filter_map(|n| self.calls.get(n));
        called.map(String::as_str).collect()
    }
}

#[test]
fn whatever_comes_to_a_file_is_hooked_or_has_a_reason() {
    let Some(libc) = Libc::read() else { return };
    // Not what only glibc's own libraries can be linked to.
    let names = versions(&artefacts::libc());
    let missing: Vec<_> = names
        .keys()
        .filter(|name| !libc.hooks.contains(*name) && !libc.reasons.contains(*name))
        .map(|name| (name, libc.comes_to(name)))
        .filter(|(_, calls)| !calls.is_empty())
        .map(|(name, calls)| format!("  {name}: {}", calls.join(" ")))
        .collect();
    assert!(
        missing.is_empty(),
        "functions of libc's that make these system calls themselves, neither hooked nor in inside.toml:\n{}",
        missing.join("\n")
    );
}

#[test]
fn reasons_of_what_libc_does_are_still_needed() {
    let Some(libc) = Libc::read() else { return };
    for name in inside().iter().flat_map(|reason| words(&reason.libc)) {
        assert!(
            !libc.hooks.contains(&name),
            "{name} is in inside.toml, but it is hooked"
        );
        assert!(
            !libc.comes_to(&name).is_empty(),
            "{name} is in inside.toml, but comes to no call of the table"
        );
    }
}

/// That the machine code is understood: functions of which it is known what they do.
#[test]
fn what_is_known_is_found() {
    let Some(libc) = Libc::read() else { return };
    for (name, wanted) in [
        ("mkstemp", "openat"),
        ("catopen", "openat"),
        ("tmpfile", "openat"),
        ("login_tty", "dup2"),
        ("updwtmp", "write"),
        ("getutent_r", "pread64"),
        ("posix_fallocate", "fallocate"),
        ("shm_open", "openat"),
        ("fexecve", "execveat"),
        ("copy_file_range", "copy_file_range"),
        ("sem_open", "mmap"),
        ("system", "close_range"),
        ("mq_close", "close"),
        ("backtrace_symbols_fd", "writev"),
    ] {
        let calls = libc.comes_to(name);
        assert!(calls.contains(&wanted), "{name}: {calls:?}");
    }
    for name in [
        "strlen",
        "getpid",
        "qsort",
        "fread",
        "fseek",
        "puts",
        "pthread_mutex_lock",
        "isatty",
    ] {
        let calls = libc.comes_to(name);
        assert!(calls.is_empty(), "{name}: {calls:?}");
    }
    for name in ["fread", "puts", "fseek", "fflush", "getline", "vfprintf"] {
        assert!(
            libc.code.reach(name, &libc.reasons).streams,
            "{name}: no stream's"
        );
    }
}
