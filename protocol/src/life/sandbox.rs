//! A process that puts itself into a sandbox: which of our own system calls may still be made.
//!
//! A seccomp filter is written for the system calls that the program makes. To the kernel ours are the program's too,
//! and one that the filter doesn't know may end it. So every filter that the program installs is copied when it comes
//! in, and asked before each call of ours (`kernel::own_call`): what it wouldn't allow isn't made, and fails
//! here as on a kernel that lacks it; most calls have a substitute. Filters add up, and the strictest answer counts.
//! One that binds a single thread counts for all.
//!
//! Without some calls nothing can be fenced. That is said before the filter is on, and from then on everything passes
//! through.
//!
//! Of filters that came with the process (a container's, a service manager's) nothing can be asked: `is_inherited`.

use kernel::text::Text;

use crate::life::gate::{Copied, Program};
use crate::life::state::Filter;
use crate::life::{gate, handed_on, needs, rights};
use crate::tell::events::{self, Event};
use crate::who::process::{self, Standing};

/// What the program is about to put itself into.
pub enum Entering {
    Strict,
    Filter {
        program: *const Program,
        all_threads: bool,
    },
}

/// The call that does it: everything is prepared and said before. `failed` looks at its result.
pub fn enter(what: &Entering, failed: impl Fn(isize) -> bool, real: impl Fn() -> isize) -> isize {
    // Behind it that can't be done any more.
    process::enters_table();
    match process::standing() {
        // It shares our memory, but not what is about to be forbidden.
        Standing::VforkChild => return real(),
        Standing::Passing => {
            gate::refuse_all();
            return real();
        }
        Standing::Fenced | Standing::Refusing => {}
    }
    let added = match *what {
        Entering::Strict => Some(Copied::Unknown),
        Entering::Filter { program, .. } => Filter::copy(program),
    };
    let Some(added) = added else {
        return real();
    };
    let lacks = match added {
        Copied::Unknown => Some("any other call than read and write"),
        Copied::Filter(filter) => {
            gate::add(filter);
            needs::missing()
        }
    };
    if let Some(what) = lacks
        && process::refuses_uncovered()
        && needs::any_file()
    {
        tell(what, "refused with EACCES");
        if let Copied::Filter(filter) = added {
            gate::take_back(filter);
        }
        return kernel::libc_result(-libc::EACCES as isize);
    }
    let fenced = prepare(lacks);
    close_gate(what, &added);
    let result = real();
    if failed(result) {
        let errno = kernel::errno();
        match added {
            Copied::Filter(filter) => gate::take_back(filter),
            Copied::Unknown => gate::allow_again(),
        }
        kernel::set_errno(errno);
    } else if lacks.is_some() && fenced {
        process::stop_fencing();
    }
    result
}

/// What must be done and said while that is still allowed. Whether the process is fenced.
fn prepare(lacks: Option<&str>) -> bool {
    // What passes through from now on is at least known to others as used.
    if lacks.is_some() || !needs::may_look() {
        rights::before_losing_all();
    } else {
        rights::before_losing();
    }
    let fenced = process::standing() == Standing::Fenced;
    if let Some(what) = lacks
        && fenced
        && needs::any_file()
    {
        tell(
            what,
            "from now on this process and what it starts pass through",
        );
    }
    needs::look_at_children(!fenced || lacks.is_some());
    fenced
}

/// Our own calls ask the gate from now on, which lets through what will be allowed.
fn close_gate(what: &Entering, added: &Copied) {
    if let Copied::Filter(_) = added {
        let clock = [libc::CLOCK_MONOTONIC as usize, 0, 0, 0, 0, 0];
        gate::set_clock(!gate::will_allow(libc::SYS_clock_gettime as usize, &clock));
        gate::bring_into_force();
        kernel::set_gate(gate::may);
    } else {
        handed_on::nothing();
        gate::refuse_all();
    }
    if let Entering::Filter {
        all_threads: true, ..
    } = *what
    {
        // Others may be between the gate and the kernel.
        kernel::sleep_ms(2);
    }
}

fn tell(what: &str, done: &str) {
    let reason = Text::<200>::of(format_args!(
        "a seccomp filter that refuses {what}, without which nothing can be fenced: allow it there"
    ));
    events::emit(&Event {
        done,
        ..Event::uncovered(None, reason.as_str())
    });
}
