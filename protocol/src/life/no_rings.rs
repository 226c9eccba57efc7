//! `io_uring = "refuse-all"`: a seccomp filter of ours, by which the kernel itself says that there is no io_uring, whoever
//! asks in whatever way. It binds the process and what it starts, for good, also those that aren't fenced.
//!
//! A process without CAP_SYS_ADMIN has to give up new privileges for it (PR_SET_NO_NEW_PRIVS), so that the setuid programs
//! which it starts run with its own rights. What is started finds the filter there and puts no second one on it, and knows
//! that nothing else was there before, so that its own calls aren't held back (see `gate`).

use core::ffi::CStr;

use kernel::text::Text;

use crate::life::filter::Instruction;
use crate::life::variables::variable;
use crate::tell::events;

/// In the environment of what is started: ours may be there, and whether it is "alone" if it is.
const NAME: &CStr = c"PAGEFENCE_NO_RINGS";
const ALONE: &CStr = c"alone";
const BESIDE: &CStr = c"beside others";

/// The numbers of io_uring_setup, io_uring_enter and io_uring_register are these on every architecture, so also for calls
/// that are made as another one's; those of x32 have a bit more. Calls beside them are seen to be allowed whatever their
/// arguments are, and the kernel (5.11) asks nothing for them.
const PROGRAM: [Instruction; 6] = {
    const fn of(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }
    [
        of(0x20, 0, 0, 0),                                 // load the number
        of(0x54, 0, 0, 0x3fff_ffff),                       // without x32's bit
        of(0x25, 2, 0, 427),                               // above: allow
        of(0x35, 0, 1, 425),                               // below: allow
        of(0x06, 0, 0, 0x0005_0000 | libc::ENOSYS as u32), // SECCOMP_RET_ERRNO
        of(0x06, 0, 0, 0x7fff_0000),                       // SECCOMP_RET_ALLOW
    ]
};

fn prctl(option: usize, value: usize) -> isize {
    // SAFETY: options that only ask, or that take a number.
    unsafe { kernel::any(libc::SYS_prctl as usize, [option, value, 0, 0, 0, 0]) }
}

fn filters() -> bool {
    prctl(libc::PR_GET_SECCOMP as usize, 0) > 0
}

/// What a process hears that asks for a ring, and gives nothing to make one of.
fn is_refused() -> bool {
    // SAFETY: no entries and no address: there is nothing that it could make or write.
    let result = unsafe { kernel::any(libc::SYS_io_uring_setup as usize, [0; 6]) };
    result == -libc::ENOSYS as isize
}

/// Whether ours came with the process. Only where somebody has said that it might: another filter could kill for the question.
fn has_come() -> bool {
    variable(NAME).is_some() && filters() && is_refused()
}

/// Whether the filters that came with the process are ours, and no other. In the constructor, as is what follows.
pub fn came_alone() -> bool {
    variable(NAME) == Some(ALONE) && how_many() == Some(1) && is_refused()
}

/// How many filters bind this process (Linux 5.9).
fn how_many() -> Option<u32> {
    // What comes before it in the file is less than this, and so is the file.
    let mut text = [0; 4096];
    let fd = i32::try_from(kernel::open(c"/proc/self/status", libc::O_RDONLY)).ok()?;
    let length = kernel::read(fd, &mut text);
    kernel::close(fd);
    let status = core::str::from_utf8(text.get(..usize::try_from(length).ok()?)?).ok()?;
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp_filters:"))?;
    count.trim().parse().ok()
}

/// For what is started, whether there will be a filter or not: it looks. Before the environment is remembered.
pub fn announce() {
    if has_come() {
        return;
    }
    let how = if filters() { BESIDE } else { ALONE };
    // SAFETY: in the constructor, before the program runs.
    unsafe { libc::setenv(NAME.as_ptr(), how.as_ptr(), 1) };
}

/// From now on there are no rings. If that can't be, it is said, and they are refused where they are seen.
pub fn refuse_all() {
    if has_come() {
        return;
    }
    let mut result = install();
    if result == -libc::EACCES as isize {
        prctl(libc::PR_SET_NO_NEW_PRIVS as usize, 1);
        result = install();
    }
    if result != 0 {
        let reason = Text::<200>::of(format_args!(
            "io_uring, where it isn't asked for by name: no seccomp filter could be put on ({})",
            match result {
                1.. => "a thread has one of its own".to_owned(),
                error => std::io::Error::from_raw_os_error(-error as i32).to_string(),
            }
        ));
        events::emit_uncovered(None, -1, reason.as_str());
    }
}

/// For all threads: constructors before ours may have made some.
fn install() -> isize {
    /// The kernel's `struct sock_fprog`.
    #[repr(C)]
    struct Given {
        length: u16,
        instructions: *const Instruction,
    }
    const SET_MODE_FILTER: usize = 1;
    const ALL_THREADS: usize = 1;
    let given = Given {
        length: PROGRAM.len() as u16,
        instructions: PROGRAM.as_ptr(),
    };
    let arguments = [
        SET_MODE_FILTER,
        ALL_THREADS,
        &raw const given as usize,
        0,
        0,
        0,
    ];
    // SAFETY: a filter that lives as long as the call, which the kernel copies.
    unsafe { kernel::any(libc::SYS_seccomp as usize, arguments) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::life::filter::{ARCHITECTURE, Call, ask, is_sound};

    #[test]
    fn it_refuses_rings_and_nothing_else() {
        const X32: u32 = 0x4000_0000;
        assert!(is_sound(&PROGRAM));
        let said = |number: u32, architecture| {
            let call = Call {
                number,
                architecture,
                from: 0,
                arguments: [0; 6],
            };
            ask(&PROGRAM, &call)
        };
        for number in 0..1000 {
            for (number, architecture) in [
                (number, ARCHITECTURE),
                (number | X32, ARCHITECTURE),
                (number, 0x4000_0003),
            ] {
                let answer = said(number, architecture);
                let refused = (425..=427).contains(&(number & !X32));
                assert_eq!(answer.is_error(), refused, "{number}");
                assert_eq!(answer.allows(), !refused, "{number}");
            }
        }
        assert!(said(u32::MAX, ARCHITECTURE).allows());
    }
}
