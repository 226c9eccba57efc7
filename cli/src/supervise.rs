//! `run --summary`: starts the program, stands aside, and waits for it and for what it leaves behind (daemons become children
//! of this process); it ends as the program ended.
//!
//! Signals are blocked and taken one by one (`sigtimedwait`), so there are no handlers; the
//! program gets the mask and the dispositions that we were given.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::exec::Plan;
use crate::failure::Failure;
use crate::say::tell;

/// What is passed on when somebody sends it to us and means the program.
const FORWARDED: [libc::c_int; 6] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    Killed(i32),
}

/// A program that has ended, and what it has left behind.
pub struct Ended {
    pub end: End,
    signals: Signals,
}

/// What happens while others go on.
pub enum Next {
    /// The last of them has ended.
    AllEnded,
    /// Somebody doesn't want to wait for that.
    Enough,
    /// Somebody wants to see how it stands (SIGUSR1).
    Look,
    /// Nothing, for as long as was asked.
    GoesOn,
}

/// Runs the program to its end. `becomes`: what makes a process the program.
pub fn run(plan: &Plan, becomes: fn(&Plan) -> Failure) -> Result<Ended, Failure> {
    // It can't fail for a flag. Without it daemons would become children of the first process of all, and go unseen.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let signals = Signals::take();
    // SAFETY: this process has one thread, so the child may go on as any program.
    let child = unsafe { libc::fork() };
    if child == 0 {
        signals.give_back();
        let failure = becomes(plan);
        tell(&failure);
        // SAFETY: ends the child at once, without running what the parent will run at its end.
        unsafe { libc::_exit(failure.code) };
    }
    let Some(child) = Pid::from_raw(child.max(0)) else {
        let error = io::Error::last_os_error();
        return Err(Failure::own(format!("can't start a process: {error}"), ""));
    };
    loop {
        let Some((signal, from_terminal)) = signals.wait(None) else {
            continue;
        };
        if signal == libc::SIGCHLD {
            if let Some(end) = ended(child)? {
                return Ok(Ended { end, signals });
            }
        } else if !from_terminal {
            forward(child, signal);
        }
    }
}

/// How the program ended, if it has; what it left behind and has ended, too, is gone now.
fn ended(child: Pid) -> Result<Option<End>, Failure> {
    let mut how = None;
    let others = reap(|one, status| {
        if one == child {
            how = end(status);
        }
    });
    match others {
        Err(error) if how.is_none() => {
            let message = format!("can't wait for the program: {error}");
            Err(Failure::own(message, ""))
        }
        _ => Ok(how),
    }
}

/// Children that have ended are gone now, and told. Err: there are no others.
fn reap(mut ended: impl FnMut(Pid, WaitStatus)) -> rustix::io::Result<()> {
    while let Some((child, status)) = rustix::process::wait(WaitOptions::NOHANG)? {
        ended(child, status);
    }
    Ok(())
}

impl Ended {
    /// Those that the program has left behind and that go on, each with its name.
    pub fn others(&self) -> Vec<(u32, String)> {
        let this = std::process::id();
        let children = std::fs::read_to_string(format!("/proc/{this}/task/{this}/children"));
        let numbers = children.unwrap_or_default();
        let named = numbers.split_whitespace().filter_map(|number| {
            let name = std::fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
            Some((number.parse().ok()?, name.trim_end().to_owned()))
        });
        named.collect()
    }

    /// Whether any goes on. Those that have ended are gone now.
    pub fn is_waited_for(&self) -> bool {
        reap(|_, _| ()).is_ok()
    }

    /// Waits for them, or for so long.
    pub fn next(&self, at_most: Option<Duration>) -> Next {
        let until = at_most.map(|long| Instant::now() + long);
        loop {
            match self.signals.wait(until) {
                None => return Next::GoesOn,
                Some((libc::SIGCHLD, _)) if self.is_waited_for() => {}
                Some((libc::SIGCHLD, _)) => return Next::AllEnded,
                Some((libc::SIGUSR1, _)) => return Next::Look,
                Some((libc::SIGUSR2, _)) => {}
                Some(_) => return Next::Enough,
            }
        }
    }

    /// Ends this process as the program ended, or returns the exit code to end with.
    pub fn mirror(&self) -> i32 {
        self.signals.give_back();
        self.end.mirror()
    }
}

fn end(status: WaitStatus) -> Option<End> {
    let killed = status.terminating_signal().map(End::Killed);
    status.exit_status().map(End::Exited).or(killed)
}

fn forward(child: Pid, signal: libc::c_int) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        // It may have just ended, which SIGCHLD will tell.
        let _ = rustix::process::kill_process(child, signal);
    }
}

impl End {
    fn mirror(self) -> i32 {
        let signal = match self {
            End::Exited(code) => return code,
            End::Killed(signal) => signal,
        };
        // The program has written its core, if any; ours would overwrite it.
        let none = rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        let mut set = empty_set();
        // SAFETY: plain calls on a set and a disposition of our own; the process has one thread.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::sigaddset(&mut set, signal);
            libc::sigprocmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
            libc::raise(signal);
        }
        // As shells say it, should the signal not have ended us.
        128 + signal
    }
}

/// The signals that we take for ourselves meanwhile, and what they were before.
struct Signals {
    taken: libc::sigset_t,
    mask_before: libc::sigset_t,
    child_before: libc::sigaction,
}

impl Signals {
    fn take() -> Signals {
        let mut taken = empty_set();
        let mut mask_before = empty_set();
        let mut child_before = MaybeUninit::<libc::sigaction>::zeroed();
        let mut default = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: zeroed sigaction structures are valid (SIG_DFL is zero), and every pointer is
        // to a local of the right type.
        unsafe {
            for signal in FORWARDED.into_iter().chain([libc::SIGCHLD]) {
                libc::sigaddset(&mut taken, signal);
            }
            libc::sigprocmask(libc::SIG_BLOCK, &taken, &mut mask_before);
            // Ignored, as some parents leave it, it would reap the program before we look.
            (*default.as_mut_ptr()).sa_sigaction = libc::SIG_DFL;
            libc::sigaction(libc::SIGCHLD, default.as_ptr(), child_before.as_mut_ptr());
            Signals {
                taken,
                mask_before,
                child_before: child_before.assume_init(),
            }
        }
    }

    fn give_back(&self) {
        // SAFETY: both values were filled in by the kernel in `take`.
        unsafe {
            libc::sigaction(libc::SIGCHLD, &self.child_before, ptr::null_mut());
            libc::sigprocmask(libc::SIG_SETMASK, &self.mask_before, ptr::null_mut());
        }
    }

    /// The next signal, and whether the terminal sent it: then the program, in the same process
    /// group, got it too. None: there was none until then.
    fn wait(&self, until: Option<Instant>) -> Option<(libc::c_int, bool)> {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.map(|left| libc::timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            let left = left.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: all pointers are to values of the right type, or null where that says for ever.
            let signal = unsafe { libc::sigtimedwait(&self.taken, info.as_mut_ptr(), left) };
            if signal > 0 {
                // SAFETY: filled in by the kernel, and valid when zeroed.
                let info = unsafe { info.assume_init_ref() };
                return Some((signal, info.si_code == libc::SI_KERNEL));
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return None;
            }
        }
    }
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::zeroed();
    // SAFETY: sigemptyset fills in the whole set, and fails for no valid pointer.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}
