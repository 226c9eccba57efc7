//! Which system calls the fence can't do without, and what else is lost when a sandbox forbids one: asked of the filters
//! with the arguments that we would give, before they are on.

use crate::life::gate::{will_allow, will_not_kill};
use crate::life::handed_on;
use crate::tell::events::{self, Event};
use crate::what::files;
use crate::who::process;

/// A call as we would make it; what isn't given is an address or a size.
type Ask = (i64, usize, usize, usize);

/// Calls of which one is enough, under the name by which the user is told.
type Need = (&'static str, &'static [Ask]);

const ANY: usize = 0;
const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;
const PRIVATE: usize = libc::FUTEX_PRIVATE_FLAG as usize;

/// What every file needs.
const ALWAYS: &[Need] = &[
    (
        "fstat, newfstatat and statx",
        &[
            (libc::SYS_statx, ANY, ANY, EMPTY_PATH),
            (libc::SYS_fstat, ANY, ANY, ANY),
            (libc::SYS_newfstatat, ANY, ANY, ANY),
        ],
    ),
    (
        "rt_sigprocmask",
        &[(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK as usize, ANY, ANY)],
    ),
    (
        "rt_sigprocmask",
        &[(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK as usize,
            ANY,
            ANY,
        )],
    ),
    (
        "futex",
        &[(libc::SYS_futex, ANY, libc::FUTEX_WAIT as usize, ANY)],
    ),
    (
        "futex",
        &[(libc::SYS_futex, ANY, libc::FUTEX_WAKE as usize, ANY)],
    ),
    (
        "futex",
        &[(
            libc::SYS_futex,
            ANY,
            libc::FUTEX_WAIT as usize | PRIVATE,
            ANY,
        )],
    ),
    (
        "futex",
        &[(
            libc::SYS_futex,
            ANY,
            libc::FUTEX_WAKE as usize | PRIVATE,
            ANY,
        )],
    ),
    (
        "fcntl with F_GETFL",
        &[(libc::SYS_fcntl, ANY, libc::F_GETFL as usize, ANY)],
    ),
    (
        "lseek",
        &[(libc::SYS_lseek, ANY, ANY, libc::SEEK_CUR as usize)],
    ),
    (
        "pread64, preadv and preadv2",
        &[
            (libc::SYS_pread64, ANY, ANY, ANY),
            (libc::SYS_preadv, ANY, ANY, ANY),
            (libc::SYS_preadv2, ANY, ANY, ANY),
        ],
    ),
    (
        "pwrite64, pwritev and pwritev2",
        &[
            (libc::SYS_pwrite64, ANY, ANY, ANY),
            (libc::SYS_pwritev, ANY, ANY, ANY),
            (libc::SYS_pwritev2, ANY, ANY, ANY),
        ],
    ),
];

/// How files come into a process.
const OPENS: &[Ask] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, ANY, libc::O_RDWR as usize, ANY),
    (libc::SYS_openat, ANY, ANY, libc::O_RDWR as usize),
    (libc::SYS_openat2, ANY, ANY, ANY),
];
const RECEIVES: &[Ask] = &[(libc::SYS_recvmsg, ANY, ANY, ANY)];

/// What finding out about a number takes, beyond what every file needs, and a second descriptor.
const LOOKS: &[Need] = &[
    ("fstatfs", &[(libc::SYS_fstatfs, ANY, ANY, ANY)]),
    ("readlinkat", &[(libc::SYS_readlinkat, ANY, ANY, ANY)]),
    (
        "openat",
        &[(libc::SYS_openat, ANY, ANY, libc::O_RDONLY as usize)],
    ),
    (
        "openat",
        &[(libc::SYS_openat, ANY, ANY, libc::O_RDWR as usize)],
    ),
];

/// A second descriptor of a file that is opened later, where the program doesn't see it.
const SECONDS: &[Need] = &[
    (
        "openat",
        &[(libc::SYS_openat, ANY, ANY, libc::O_RDWR as usize)],
    ),
    (
        "fcntl",
        &[(libc::SYS_fcntl, ANY, libc::F_GETFD as usize, ANY)],
    ),
    (
        "fcntl",
        &[(libc::SYS_fcntl, ANY, libc::F_SETFD as usize, ANY)],
    ),
    (
        "fcntl",
        &[(libc::SYS_fcntl, ANY, libc::F_DUPFD_CLOEXEC as usize, ANY)],
    ),
    ("close", &[(libc::SYS_close, ANY, ANY, ANY)]),
];
/// And what does without.
const NO_SECOND: &[Ask] = &[(libc::SYS_fcntl, ANY, libc::F_SETFL as usize, ANY)];

/// How processes are made.
const FORKS: &[Ask] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_fork, ANY, ANY, ANY),
    (libc::SYS_clone, libc::SIGCHLD as usize, ANY, ANY),
    (libc::SYS_clone3, ANY, ANY, ANY),
];
const EXECS: &[Ask] = &[
    (libc::SYS_execve, ANY, ANY, ANY),
    (libc::SYS_execveat, ANY, ANY, ANY),
];

/// What a process needs to enter the table, beyond what every file needs.
const JOINS: &[Need] = &[
    ("fstat", &[(libc::SYS_fstat, ANY, ANY, ANY)]),
    (
        "prctl",
        &[(libc::SYS_prctl, libc::PR_GET_NAME as usize, ANY, ANY)],
    ),
    ("getpid", &[(libc::SYS_getpid, ANY, ANY, ANY)]),
];

/// And to do so by opening it.
const JOINS_BY_OPENING: &[Need] = &[
    (
        "openat",
        &[(libc::SYS_openat, ANY, ANY, libc::O_RDWR as usize)],
    ),
    (
        "mmap",
        &[(libc::SYS_mmap, ANY, ANY, libc::PROT_READ as usize)],
    ),
    (
        "madvise",
        &[(libc::SYS_madvise, ANY, ANY, libc::MADV_DONTFORK as usize)],
    ),
    (
        "dup3",
        &[(libc::SYS_dup3, ANY, ANY, libc::O_CLOEXEC as usize)],
    ),
    ("close", &[(libc::SYS_close, ANY, ANY, ANY)]),
    ("munmap", &[(libc::SYS_munmap, ANY, ANY, ANY)]),
    (
        "fcntl with F_OFD_SETLK",
        &[(libc::SYS_fcntl, ANY, libc::F_OFD_SETLK as usize, ANY)],
    ),
];

/// Or by what it has from its parent.
const JOINS_BY_PROBE: &[Need] = &[
    (
        "fcntl with F_SETLK",
        &[(libc::SYS_fcntl, ANY, libc::F_SETLK as usize, ANY)],
    ),
    (
        "fcntl with F_GETLK",
        &[(libc::SYS_fcntl, ANY, libc::F_GETLK as usize, ANY)],
    ),
];

/// How a file is opened that is to be changed.
const WRITES: &[Ask] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, ANY, libc::O_RDWR as usize, ANY),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, ANY, libc::O_WRONLY as usize, ANY),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, ANY, ANY, ANY),
    (libc::SYS_openat, ANY, ANY, libc::O_RDWR as usize),
    (libc::SYS_openat, ANY, ANY, libc::O_WRONLY as usize),
    (libc::SYS_openat2, ANY, ANY, ANY),
];

/// What the library's constructor needs in a program that is started, beyond that.
const STARTS: &[Ask] = &[
    (libc::SYS_newfstatat, ANY, ANY, ANY),
    (libc::SYS_statx, ANY, ANY, ANY),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, ANY, ANY, ANY),
    #[cfg(not(target_arch = "x86_64"))]
    (libc::SYS_readlinkat, ANY, ANY, ANY),
    (libc::SYS_geteuid, ANY, ANY, ANY),
    (libc::SYS_read, ANY, ANY, ANY),
    (libc::SYS_write, ANY, ANY, ANY),
    (libc::SYS_pread64, ANY, ANY, ANY),
    (libc::SYS_pwrite64, ANY, ANY, ANY),
    (libc::SYS_lseek, ANY, ANY, ANY),
    (libc::SYS_faccessat, ANY, ANY, ANY),
    (libc::SYS_mprotect, ANY, ANY, ANY),
    (libc::SYS_fcntl, ANY, libc::F_GETFL as usize, ANY),
    (libc::SYS_rt_sigprocmask, libc::SIG_BLOCK as usize, ANY, ANY),
    (
        libc::SYS_rt_sigprocmask,
        libc::SIG_SETMASK as usize,
        ANY,
        ANY,
    ),
    (libc::SYS_futex, ANY, libc::FUTEX_WAIT as usize, ANY),
    (libc::SYS_futex, ANY, libc::FUTEX_WAKE as usize, ANY),
    // PR_GET_SECCOMP
    (libc::SYS_prctl, 21, ANY, ANY),
    // For a table that isn't there yet.
    (libc::SYS_fallocate, ANY, ANY, ANY),
    (libc::SYS_linkat, ANY, ANY, ANY),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, ANY, ANY, ANY),
    (libc::SYS_unlinkat, ANY, ANY, ANY),
];

fn any(asks: &[Ask]) -> bool {
    asks.iter()
        .any(|(number, a, b, c)| will_allow(*number as usize, &[*a, *b, *c, 0, 0, 0]))
}

/// Whether a program that makes these calls, not knowing of the filter, lives on.
fn survives(asks: &[Ask]) -> bool {
    asks.iter()
        .all(|(number, a, b, c)| will_not_kill(*number as usize, &[*a, *b, *c, 0, 0, 0]))
}

fn first_missing(needs: &[Need]) -> Option<&'static str> {
    needs
        .iter()
        .find(|(_, asks)| !any(asks))
        .map(|(name, _)| *name)
}

/// The first thing that the filters refuse and without which no file can be kept coherent.
pub fn missing() -> Option<&'static str> {
    let vdso = process::has_vdso() || any(&[(libc::SYS_clock_gettime, ANY, ANY, ANY)]);
    let numbered = !any(FORKS) || any(&[(libc::SYS_getpid, ANY, ANY, ANY)]);
    let named = !any(OPENS)
        || any(&[
            (libc::SYS_newfstatat, ANY, ANY, ANY),
            (libc::SYS_statx, ANY, ANY, ANY),
        ]);
    // Where files still come in, there must be room for them.
    let room = !any_file_comes() || any(&[(libc::SYS_mmap, ANY, ANY, libc::PROT_READ as usize)]);
    let falls_back = !any_file_comes() || first_missing(SECONDS).is_none() || any(NO_SECOND);
    first_missing(ALWAYS)
        .or((!falls_back).then_some("fcntl with F_DUPFD_CLOEXEC and F_SETFL"))
        .or((!room).then_some("mmap"))
        .or((!vdso).then_some("clock_gettime"))
        .or((!numbered).then_some("getpid"))
        .or((!named).then_some("newfstatat and statx"))
}

/// Whether there is anything to fence, or can be.
pub fn any_file() -> bool {
    files::all().next().is_some() || any_file_comes()
}

fn any_file_comes() -> bool {
    any(OPENS) || any(RECEIVES)
}

/// Whether numbers can be looked at later, as usual.
pub fn may_look() -> bool {
    first_missing(ALWAYS).or(first_missing(LOOKS)).is_none()
}

/// How a forked child can enter the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Join {
    ByOpening,
    /// Through the descriptor that it has from its parent: it may not open another.
    ByProbe,
    Not,
}

pub fn how_to_join() -> Join {
    if first_missing(JOINS).is_some() {
        Join::Not
    } else if first_missing(JOINS_BY_OPENING).is_none() {
        Join::ByOpening
    } else if first_missing(JOINS_BY_PROBE).is_none() {
        Join::ByProbe
    } else {
        Join::Not
    }
}

/// What else there is to know before the filter is on: of the processes that this one makes. `alone`: nothing is fenced
/// any more anyway, and that is said already.
pub fn look_at_children(alone: bool) {
    let say = |what: &str, done: &'static str| {
        if !alone {
            events::emit(&Event {
                done,
                ..Event::uncovered(None, what)
            });
        }
    };
    if any(FORKS) && how_to_join() == Join::Not {
        say(
            "a seccomp filter that allows fork, but not what a child needs to join: fstat, prctl, getpid, fcntl with F_SETLK and F_GETLK",
            "its children pass through",
        );
    }
    if !any(EXECS) {
        return;
    }
    let mut joins = JOINS.iter().chain(JOINS_BY_OPENING);
    let joins = joins.all(|(_, asks)| survives(asks));
    // Where nothing can be opened to be changed, nor so the table, they only look: that they do it unfenced matters
    // where somebody uses a file of ours directly.
    let look_only = !any(WRITES);
    if joins && survives(STARTS) && !look_only {
        return handed_on::what_kills();
    }
    handed_on::nothing();
    if !look_only || files::all().any(|(_, file)| file.locks()) {
        say(
            "a seccomp filter that allows exec, but not what the library needs to start",
            "programs that it starts pass through",
        );
    }
}
