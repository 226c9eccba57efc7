//! The supervisor's threads: each takes a call, makes it, answers, and takes the next. There is always one that waits for a
//! call, so a call that waits for a range keeps nobody else waiting.

use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::thread;

use policy::Policy;
use policy::environment as variables;

use crate::failure::Failure;
use crate::process::SUPERVISOR;

use super::listener::{Answer, Call, Listener};
use super::memory::Room;
use super::mirrors::{self, Mirrors};
use super::numbers::Copies;
use super::processes::{Process, Processes, handle};
use super::restarts::{self, Watch};
use super::rights::{self, Own, Rights, Standing};
use super::said::{self, Said};
use super::scene::{Scene, Shared};
use super::stand_by::{SOCKET, receive};
use super::{copies, layout, transfer};

/// Threads that wait for a call; more than that end.
const MOST_IDLE: usize = 4;
/// They need little, and there may be one for each call that waits for a range.
const STACK: usize = 256 << 10;

struct Crew {
    shared: &'static Shared,
    idle: AtomicUsize,
}

pub fn serve(about: &[OsString]) -> Result<i32, Failure> {
    let unusable = || Failure::own("this command is the library's and `run`'s own", "");
    let [name, process] = about else {
        return Err(unusable());
    };
    let process = process.to_str().and_then(|text| text.parse().ok());
    let process: u32 = process.ok_or_else(unusable)?;
    let Some(handle) = handle(process) else {
        return Ok(0); // it has been killed meanwhile
    };
    let first = Arc::new(Process {
        number: process,
        handle,
        copies: Copies::default(),
        standing: Standing::default(),
    });
    stand_apart(name);
    // SAFETY: the launcher put it there, and nobody else knows of it.
    let socket = unsafe { OwnedFd::from_raw_fd(SOCKET) };
    let pipe = own_error()?;
    let policy = Policy::chosen(variables::path_in(variables::POLICY).as_deref());
    let said = Said::new(policy.is_ok_and(|policy| policy.may_refuse()));
    let _ = rustix::io::write(&socket, b"r");
    let Some(listener) = receive(&socket) else {
        return Ok(0); // the launcher has said why
    };
    drop(socket);
    let shared: &'static Shared = Box::leak(Box::new(Shared {
        listener: Listener::new(listener),
        processes: Processes::new().map_err(failed)?,
        mirrors: Mirrors::default(),
        said,
        rights: Rights::default(),
        watch: Watch::begin(),
    }));
    said::pass_on(pipe, first, &shared.processes);
    thread::spawn(|| shared.processes.sweep_for_ever());
    let crew: &'static Crew = Box::leak(Box::new(Crew {
        shared,
        idle: AtomicUsize::new(1),
    }));
    crew.hire();
    shared.listener.wait_for_end();
    Ok(0)
}

/// Signals that mean the program, or all of its group, don't mean us: we end when nobody is left. Limits as far as they go.
fn stand_apart(name: &OsString) {
    let mut all = MaybeUninit::uninit();
    // SAFETY: sets of our own; this is the only thread yet.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut());
    }
    for which in [
        libc::RLIMIT_NOFILE,
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_AS,
        libc::RLIMIT_CPU,
    ] {
        let mut limit = MaybeUninit::<libc::rlimit64>::uninit();
        // SAFETY: a structure of ours, filled in where the first call succeeds.
        unsafe {
            if libc::getrlimit64(which, limit.as_mut_ptr()) == 0 {
                let most = limit.assume_init().rlim_max;
                let raised = libc::rlimit64 {
                    rlim_cur: most,
                    rlim_max: most,
                };
                libc::setrlimit64(which, &raw const raised);
            }
        }
    }
    let mut shown = SUPERVISOR.as_bytes().to_vec();
    shown.extend(name.as_bytes().iter().take(9));
    if let Ok(shown) = std::ffi::CString::new(shown) {
        let _ = rustix::thread::set_name(&shown);
    }
}

/// From now on our standard error is a pipe: what comes out of it goes on to the program's.
fn own_error() -> Result<OwnedFd, Failure> {
    let (out, into) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
    rustix::stdio::dup2_stderr(&into).map_err(failed)?;
    Ok(out)
}

fn failed(error: rustix::io::Errno) -> Failure {
    Failure::own(format!("the supervisor can't start: {error}"), "")
}

impl Crew {
    /// One thread more, which counts as idle already.
    fn hire(&'static self) {
        let hired = thread::Builder::new()
            .stack_size(STACK)
            .spawn(|| self.work());
        if hired.is_err() {
            self.idle.fetch_sub(1, AcqRel);
        }
    }

    fn work(&'static self) {
        let (mut room, mut own) = (Room::new(), Own::begin());
        loop {
            let Some(call) = self.shared.listener.receive() else {
                continue;
            };
            if self.idle.fetch_sub(1, AcqRel) == 1 {
                self.idle.fetch_add(1, AcqRel);
                self.hire();
            }
            let answer = answer(self.shared, &call, &mut room, &mut own);
            self.shared.listener.answer(&call, answer);
            room.shrink();
            if self.idle.fetch_add(1, AcqRel) >= MOST_IDLE {
                self.idle.fetch_sub(1, AcqRel);
                return;
            }
        }
    }
}

fn answer(shared: &'static Shared, call: &Call, room: &mut Room, own: &mut Own) -> Answer {
    let Some(process) = shared.processes.of(call.thread) else {
        return match shared.listener.still_waits(call) {
            true => shared.said.out_of_reach(call.thread),
            false => Answer::Given,
        };
    };
    shared.mirrors.calls_again(call.thread);
    let mut scene = Scene {
        shared,
        call,
        process,
        room,
    };
    own.follow(&scene);
    let families: [fn(&mut Scene) -> Option<Answer>; 7] = [
        transfer::transfer,
        numbers_change,
        layout::change,
        copies::copy,
        mirrors::mapping,
        restarts::installing,
        rights::giving_up,
    ];
    let mut families = families.iter();
    let answered = families.find_map(|family| family(&mut scene));
    answered.unwrap_or(Answer::Itself)
}

/// What the program gives up is given up here first. The kernel does the rest.
fn numbers_change(scene: &mut Scene) -> Option<Answer> {
    let (call, copies) = (scene.call, &scene.process.copies);
    let one = |which: usize| call.fd(which) as u32;
    match call.number() {
        libc::SYS_close => copies.forget(one(0), one(0)),
        libc::SYS_close_range => copies.forget(one(0), one(1)),
        libc::SYS_dup3 => copies.forget(one(1), one(1)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_dup2 => copies.forget(one(1), one(1)),
        libc::SYS_execve | libc::SYS_execveat | libc::SYS_exit_group => copies.forget_all(),
        // A filesystem on which nobody has anything any more can be unmounted at once, and memory sealed that nobody maps.
        libc::SYS_umount2 | libc::SYS_fcntl => scene.shared.mirrors.sweep(),
        _ => return None,
    }
    Some(Answer::Itself)
}
