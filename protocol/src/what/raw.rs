//! System calls that a program makes by instructions of its own, past every name: covered where the policy asks for it
//! (`coverage = "syscalls"`). What of them stays uncovered then is said, once for each file that they stand in.

use kernel::text::Text;
use policy::{Escaped, Policy};

use crate::tell::events;
use crate::who::process::{active, policy, program_in};

pub fn wanted() -> bool {
    let wanted = policy().is_some_and(Policy::covers_own_calls);
    wanted && active().is_some()
}

/// So many in the file (no name: the program itself) can't be told from other bytes, or can't be replaced.
pub fn left_alone(file: &[u8], count: usize) {
    let mut room = [0; kernel::NAME];
    let file = match (file, program_in(&mut room)) {
        (b"", b"") => b"the program",
        (b"", program) => program,
        (file, _) => file,
    };
    let (s, them) = if count == 1 {
        ("", "it")
    } else {
        ("s", "them")
    };
    let reason = Text::<300>::of(format_args!(
        "{count} system call{s} that {} may make without libc: the code around {them} can't be read or changed",
        Escaped(file)
    ));
    events::emit_uncovered(None, -1, reason.as_str());
}

/// The library can't tell the threads of this program apart.
pub fn threads_unknown() {
    events::emit_uncovered(
        None,
        -1,
        "from now on, system calls made without libc: the program makes threads without libc, too",
    );
}
