//! The seccomp filter that sends a program's file calls to the supervisor. All others it lets through, as far as it can from
//! their numbers alone, for the kernel remembers those and runs no filter for them.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use kernel::supervised::{ANSWER, QUESTION};

use super::rights::GIVING_UP;

/// Calls that always go to the supervisor: what they do depends on what a number stands for.
const ALWAYS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup3,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_mremap,
    libc::SYS_openat2,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit_group,
    libc::SYS_umount2,
];

#[cfg(target_arch = "x86_64")]
const ALWAYS_HERE: &[libc::c_long] = &[libc::SYS_dup2, libc::SYS_creat];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_HERE: &[libc::c_long] = &[];

/// Asynchronous rings, which nobody can stand in between: as on a kernel without them.
const NEVER: &[libc::c_long] = &[libc::SYS_io_uring_setup, libc::SYS_io_setup];

/// Of `ioctl`: what moves blocks under pages.
const CONTROLS: &[u32] = &[
    super::copies::CLONE,
    super::copies::CLONE_RANGE,
    super::copies::DEDUPE_RANGE,
    super::copies::DISCARD,
    super::copies::SECURE_DISCARD,
    super::copies::ZERO_OUT,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const NOT_THERE: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const HAS: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Where the kernel's `struct seccomp_data` has the number and the architecture.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// The lower half of an argument: all that is looked at has 32 bits.
fn argument(which: u32) -> u32 {
    16 + 8 * which
}

fn step(code: u16, value: u32, then: u8, or: u8) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: then,
        jf: or,
        k: value,
    }
}

fn load(offset: u32) -> libc::sock_filter {
    step(LOAD, offset, 0, 0)
}

fn answer(value: u32) -> libc::sock_filter {
    step(RETURN, value, 0, 0)
}

/// A call, and what is asked of it: steps that all end in an answer.
fn of(number: libc::c_long, steps: &[libc::sock_filter]) -> Vec<libc::sock_filter> {
    let past = u8::try_from(steps.len()).unwrap_or(u8::MAX);
    let mut all = vec![step(IS, number as u32, 0, past)];
    all.extend_from_slice(steps);
    all
}

/// The supervisor is asked where the argument has one of these bits.
fn with_bits(number: libc::c_long, which: u32, bits: i32) -> Vec<libc::sock_filter> {
    let steps = [
        load(argument(which)),
        step(HAS, bits as u32, 0, 1),
        answer(NOTIFY),
        answer(ALLOW),
    ];
    of(number, &steps)
}

/// The same where it is one of these.
fn with_values(number: libc::c_long, which: u32, values: &[u32]) -> Vec<libc::sock_filter> {
    let mut steps = vec![load(argument(which))];
    for value in values {
        steps.push(step(IS, *value, 0, 1));
        steps.push(answer(NOTIFY));
    }
    steps.push(answer(ALLOW));
    of(number, &steps)
}

/// Whether the supervisor may be asked for such a call.
#[cfg(target_arch = "x86_64")]
pub fn is_sent(number: libc::c_long) -> bool {
    let sometimes = [
        libc::SYS_openat,
        libc::SYS_mmap,
        libc::SYS_madvise,
        libc::SYS_rt_sigaction,
        libc::SYS_fcntl,
        libc::SYS_open,
    ];
    let mut always = ALWAYS.iter().chain(ALWAYS_HERE).chain(GIVING_UP);
    always.any(|one| *one == number) || sometimes.contains(&number)
}

/// Calls that go to the supervisor where their arguments say that they concern it.
fn by_arguments() -> Vec<libc::sock_filter> {
    let mut all = Vec::new();
    #[cfg(target_arch = "x86_64")]
    all.extend(with_bits(libc::SYS_open, 1, libc::O_TRUNC));
    all.extend(with_bits(libc::SYS_openat, 2, libc::O_TRUNC));
    let shared = [
        load(argument(3)),
        step(HAS, libc::MAP_ANONYMOUS as u32, 1, 0),
        step(HAS, libc::MAP_SHARED as u32, 1, 0),
        answer(ALLOW),
        answer(NOTIFY),
    ];
    all.extend(of(libc::SYS_mmap, &shared));
    all.extend(with_values(
        libc::SYS_madvise,
        2,
        &[libc::MADV_REMOVE as u32],
    ));
    all.extend(with_values(libc::SYS_ioctl, 1, CONTROLS));
    // A mirror is a writable mapping, beside which none of these holds.
    let seals = &[libc::F_ADD_SEALS as u32];
    all.extend(with_values(libc::SYS_fcntl, 1, seals));
    // What is installed, and not what is only asked for (see `restarts`).
    #[cfg(target_arch = "x86_64")]
    let installs = [
        load(argument(1)),
        step(IS, 0, 1, 0),
        answer(NOTIFY),
        load(argument(1) + 4),
        step(IS, 0, 0, 1),
        answer(ALLOW),
        answer(NOTIFY),
    ];
    #[cfg(target_arch = "x86_64")]
    all.extend(of(libc::SYS_rt_sigaction, &installs));
    all
}

fn program() -> Vec<libc::sock_filter> {
    let mut all = vec![
        load(ARCH),
        step(IS, ARCHITECTURE, 1, 0),
        // Of another architecture, which is said when it is started.
        answer(ALLOW),
        load(NUMBER),
    ];
    // The calls of x32, a second set of the same.
    #[cfg(target_arch = "x86_64")]
    all.extend([step(HAS, 0x4000_0000, 0, 1), answer(NOT_THERE)]);
    for number in ALWAYS.iter().chain(ALWAYS_HERE).chain(GIVING_UP) {
        all.extend(of(*number, &[answer(NOTIFY)]));
    }
    for number in NEVER {
        all.extend(of(*number, &[answer(NOT_THERE)]));
    }
    all.extend(by_arguments());
    let question = [
        load(argument(0)),
        step(IS, libc::PR_GET_SECCOMP as u32, 0, 3),
        load(argument(4)),
        step(IS, QUESTION, 0, 1),
        answer(libc::SECCOMP_RET_ERRNO | ANSWER as u32),
        answer(ALLOW),
    ];
    all.extend(of(libc::SYS_prctl, &question));
    all.push(answer(ALLOW));
    all
}

/// Puts the filter on this thread and all that comes of it. The number by which its calls are heard of.
pub fn put_on() -> io::Result<OwnedFd> {
    let mut steps = program();
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    const SET: usize = 1;
    // A signal that the program handles must not begin a call anew whose work is being done.
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let at = (&raw const program) as usize;
    // SAFETY: the program lives for the call, which copies it.
    let got = unsafe {
        kernel::any(
            libc::SYS_seccomp as usize,
            [SET, flags as usize, at, 0, 0, 0],
        )
    };
    let number = kernel::result(got)?;
    // SAFETY: a number that the kernel has just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call, by a small machine of our own.
    fn says(number: libc::c_long, arguments: [u64; 6]) -> u32 {
        let mut data = [0u8; 64];
        data[..4].copy_from_slice(&(number as u32).to_le_bytes());
        data[4..8].copy_from_slice(&ARCHITECTURE.to_le_bytes());
        for (at, argument) in arguments.iter().enumerate() {
            data[16 + 8 * at..24 + 8 * at].copy_from_slice(&argument.to_le_bytes());
        }
        let (program, mut at, mut word) = (program(), 0, 0u32);
        loop {
            let step = program[at];
            at += 1;
            let jump = |is: bool| usize::from(if is { step.jt } else { step.jf });
            match step.code {
                LOAD => {
                    let from = step.k as usize;
                    word = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                IS => at += jump(word == step.k),
                HAS => at += jump(word & step.k != 0),
                RETURN => return step.k,
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn what_goes_to_the_supervisor() {
        assert_eq!(says(libc::SYS_read, [0; 6]), NOTIFY);
        assert_eq!(says(libc::SYS_getpid, [0; 6]), ALLOW);
        let truncate = (libc::O_TRUNC | libc::O_WRONLY) as u64;
        assert_eq!(says(libc::SYS_openat, [0, 0, truncate, 0, 0, 0]), NOTIFY);
        assert_eq!(says(libc::SYS_openat, [0, 0, 0, 0, 0, 0]), ALLOW);
        let map = |flags: i32| says(libc::SYS_mmap, [0, 0, 0, flags as u64, 0, 0]);
        assert_eq!(map(libc::MAP_SHARED), NOTIFY);
        assert_eq!(map(libc::MAP_SHARED_VALIDATE), NOTIFY);
        assert_eq!(map(libc::MAP_PRIVATE), ALLOW);
        assert_eq!(map(libc::MAP_SHARED | libc::MAP_ANONYMOUS), ALLOW);
        let clone = u64::from(super::super::copies::CLONE);
        assert_eq!(says(libc::SYS_ioctl, [0, clone, 0, 0, 0, 0]), NOTIFY);
        assert_eq!(says(libc::SYS_ioctl, [0, 0x5401, 0, 0, 0, 0]), ALLOW);
        let advice = |which: i32| says(libc::SYS_madvise, [0, 0, which as u64, 0, 0, 0]);
        assert_eq!(advice(libc::MADV_REMOVE), NOTIFY);
        assert_eq!(advice(libc::MADV_DONTNEED), ALLOW);
        let control = |which: i32| says(libc::SYS_fcntl, [0, which as u64, 0, 0, 0, 0]);
        assert_eq!(control(libc::F_ADD_SEALS), NOTIFY);
        assert_eq!(control(libc::F_GETFL), ALLOW);
        let installs = |at: u64| says(libc::SYS_rt_sigaction, [0, at, 0, 0, 0, 0]);
        assert_eq!(installs(0), ALLOW);
        assert_eq!(installs(1 << 40), NOTIFY);
        assert_eq!(installs(0x7000_1000), NOTIFY);
    }

    #[test]
    fn what_it_answers_itself() {
        assert_eq!(says(libc::SYS_io_uring_setup, [0; 6]), NOT_THERE);
        let ask = |last| {
            says(
                libc::SYS_prctl,
                [libc::PR_GET_SECCOMP as u64, 0, 0, 0, last, 0],
            )
        };
        assert_eq!(
            ask(u64::from(QUESTION)),
            libc::SECCOMP_RET_ERRNO | ANSWER as u32
        );
        assert_eq!(ask(0), ALLOW);
        let other = [libc::PR_GET_DUMPABLE as u64, 0, 0, 0, QUESTION.into(), 0];
        assert_eq!(says(libc::SYS_prctl, other), ALLOW);
    }
}
