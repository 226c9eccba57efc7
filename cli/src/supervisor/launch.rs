//! How a program comes to be supervised: this process starts the supervisor in the background, puts the filter on itself,
//! hands over the number by which its calls are heard of, and becomes the program.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use policy::Policy;
use policy::environment as variables;

use crate::environment::Environment;
use crate::exec::{Plan, c_string};
use crate::failure::Failure;
use crate::library;
use crate::process::set_in;
use crate::program;
use crate::say::{Shown, tell};

use super::args::SuperviseArgs;
use super::filter;
use super::processes::handle;
use super::stand_by::{hand_over, pair, stand_by};

/// `pagefence supervise -- PROGRAM`.
pub fn launch(arguments: &SuperviseArgs) -> Result<i32, Failure> {
    let unusable = || Failure::own("no program is given", "pagefence run -- PROGRAM ARGUMENTS");
    let (path, rest) = arguments.command.split_first().ok_or_else(unusable)?;
    let first = arguments.argv0.clone().unwrap_or_else(|| path.clone());
    let mut all = vec![first];
    all.extend(rest.iter().cloned());
    let path = PathBuf::from(path);
    let plan = Plan::new(path, &all, Environment::own().strings()?)?;
    if kernel::supervised::is_supervised() {
        return Err(plan.exec());
    }
    if let Err(failure) = prepare(&plan) {
        let policy = Policy::chosen(variables::path_in(variables::POLICY).as_deref());
        if policy.is_ok_and(|policy| policy.may_refuse()) {
            return Err(failure);
        }
        tell(format_args!(
            "{failure}\npagefence: {} is started, and not fenced",
            plan.program().shown()
        ));
    }
    Err(plan.exec())
}

/// Becomes the program, supervised; comes back only if that failed.
pub fn become_supervised(plan: &Plan) -> Failure {
    match prepare(plan) {
        Ok(()) => plan.exec(),
        Err(failure) => failure,
    }
}

fn prepare(plan: &Plan) -> Result<(), Failure> {
    is_possible()?;
    let (ours, theirs) = pair().map_err(failed("a pair of sockets"))?;
    let supervisor = supervisor(plan)?;
    start(&supervisor, theirs)?;
    let mut ready = [0];
    match rustix::io::read(&ours, &mut ready) {
        Ok(1) => {}
        _ => {
            return Err(Failure::own(
                "the supervisor doesn't start",
                "pagefence doctor says what is missing",
            ));
        }
    }
    let listener = put_filter_on()?;
    hand_over(&ours, &listener).map_err(failed("the supervisor"))?;
    Ok(())
}

fn failed<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> Failure {
    move |error| Failure::own(format!("{what}: {error}"), "")
}

/// Whether this process can have a supervisor.
pub fn is_possible() -> Result<(), Failure> {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    if !matches!(scope.trim(), "" | "0") && !has_capability(19) {
        return Err(Failure::own(
            "a supervisor can't look into the program: this kernel forbids it (kernel.yama.ptrace_scope)",
            "sysctl kernel.yama.ptrace_scope=0, or run it as root",
        ));
    }
    Ok(())
}

/// Of those in effect, by its number.
fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    set_in(&status, "CapEff").is_some_and(|bits| bits & 1 << number != 0)
}

/// The supervisor: this command, with the library, and the program's name for the policy.
fn supervisor(plan: &Plan) -> Result<Plan, Failure> {
    let library = library::find()?;
    let command = std::env::current_exe().map_err(failed("this command"))?;
    let followed = program::follow_to_elf(plan.program()).ok().flatten();
    let path = followed.map_or(plan.program().to_owned(), |followed| followed.path);
    let name = path.file_name().unwrap_or(OsStr::new("program")).to_owned();
    let process = std::process::id().to_string();
    let words: [OsString; 5] = [
        "pagefence".into(),
        "supervise".into(),
        "--serve".into(),
        name.clone(),
        process.into(),
    ];
    let variable = |name: &str, value: &OsStr| {
        let mut text = OsString::from(name);
        text.push("=");
        text.push(value);
        c_string(&text)
    };
    let ours = [library::PRELOAD, variables::PROGRAM];
    let is_ours = |text: &&CString| {
        let name = text.as_bytes().split(|byte| *byte == b'=').next();
        ours.iter().any(|one| name == Some(one.as_bytes()))
    };
    let environment = plan.environment().iter();
    let mut environment: Vec<_> = environment.filter(|text| !is_ours(text)).cloned().collect();
    environment.push(variable(library::PRELOAD, library.as_os_str())?);
    environment.push(variable(variables::PROGRAM, &name)?);
    Plan::new(command, &words, environment)
}

/// In a process that is nobody's child that the program would wait for, in a session of its own. Another one stands by and
/// says so if it is killed.
fn start(supervisor: &Plan, socket: OwnedFd) -> Result<(), Failure> {
    let program = handle(std::process::id())
        .ok_or_else(|| Failure::own("this kernel has no handles for processes", ""))?;
    // SAFETY: this process has one thread, so its child may go on as any program.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: as above; and the child in between ends at once, without running what its parent will run at its end.
            unsafe {
                libc::setsid();
                match libc::fork() {
                    0 => stand_by(supervisor, &socket, &program),
                    child => libc::_exit(i32::from(child < 0)),
                }
            }
        }
        child if child > 0 => {
            let mut status = 0;
            // SAFETY: a child of ours.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            match status {
                0 => Ok(()),
                _ => Err(Failure::own("can't start a process", "")),
            }
        }
        _ => Err(failed("can't start a process")(
            std::io::Error::last_os_error(),
        )),
    }
}

/// Who has no right over the machine must give up gaining any first (setuid programs won't work for him).
fn put_filter_on() -> Result<OwnedFd, Failure> {
    const ADMINISTRATOR: u32 = 21;
    if !has_capability(ADMINISTRATOR) {
        // SAFETY: plain numbers.
        unsafe {
            let arguments = [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0, 0];
            kernel::any(libc::SYS_prctl as usize, arguments);
        }
    }
    filter::put_on().map_err(|error| {
        Failure::own(
            format!("no supervisor can be put on the program: seccomp: {error}"),
            "it needs Linux 5.19, and no other listener in this sandbox",
        )
    })
}
