//! Calls that a signal cuts short before the supervisor has heard of them.
//!
//! Until the supervisor has received a call its thread waits for that as for a pipe: a signal ends the wait, and where the
//! handler was installed without `SA_RESTART` the call fails with EINTR. A file's own calls never do, and shells, whose
//! handlers are such, take it for a broken file. (Once it is received only a signal that kills ends the wait.)
//!
//! So a process that installs such a handler is watched (ptrace), from before it has it until it becomes another program: where
//! a signal comes and the call would fail so, it is begun anew behind the handler, as the kernel does it with
//! `ERESTARTNOINTR`. Pipes and sockets are left as they are: there programs wait for EINTR. A process that somebody else
//! traces can't be watched, and keeps that risk.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering::*};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;
use std::{fs, ptr, thread};

use super::listener::Answer;
use super::memory;
use super::scene::Scene;

/// Wakes the watching thread for a request.
const BELL: i32 = libc::SIGUSR2;
/// What a fault of the program's own raises: never in a call.
const OF_FAULTS: [i32; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// A process to be watched, and who waits until it is.
type Request = (u32, Sender<()>);

pub struct Watch {
    requests: Mutex<Sender<Request>>,
    thread: AtomicI32,
}

/// None: it is another call. The program's own follows.
pub fn installing(scene: &mut Scene) -> Option<Answer> {
    let call = scene.call;
    if call.number() != libc::SYS_rt_sigaction {
        return None;
    }
    let word = |place: usize| memory::word(call.thread, call.size(1) + place * 8).unwrap_or(0);
    // The kernel's `struct sigaction`: handler, flags; 0 and 1 are no handlers.
    let (handler, flags) = (word(0), word(1) as i32);
    let cuts_short = handler > 1 && flags & libc::SA_RESTART == 0;
    if cuts_short && !OF_FAULTS.contains(&call.flags(0)) {
        scene.shared.watch.over(scene.process.number);
    }
    Some(Answer::Itself)
}

impl Watch {
    pub fn begin() -> &'static Watch {
        let (requests, received) = channel();
        let watch: &'static Watch = Box::leak(Box::new(Watch {
            requests: Mutex::new(requests),
            thread: AtomicI32::new(0),
        }));
        thread::spawn(move || watch.run(&received));
        watch
    }

    /// Returns when the process is watched, or can't be.
    fn over(&self, process: u32) {
        let (done, is_done) = channel();
        let sent = self.requests.lock().map(|to| to.send((process, done)));
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
        // It may be about to wait when the bell rings: again, then.
        let soon = Duration::from_millis(5);
        loop {
            self.ring();
            match is_done.recv_timeout(soon) {
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
    }

    fn ring(&self) {
        let arguments = [
            std::process::id() as usize,
            self.thread.load(Acquire) as usize,
            BELL as usize,
            0,
            0,
            0,
        ];
        // SAFETY: plain numbers.
        let _ = unsafe { kernel::any(libc::SYS_tgkill as usize, arguments) };
    }

    /// Only the thread that watches a process may ask and answer for it.
    fn run(&self, received: &Receiver<Request>) {
        hear_the_bell();
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        self.thread.store(own, Release);
        loop {
            match received.try_recv() {
                Ok(request) => watch(request),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    let mut status = 0;
                    // SAFETY: an integer of ours.
                    let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
                    match (thread, kernel::errno()) {
                        (1.., _) => stopped(thread, status),
                        // There is nobody to watch.
                        (_, libc::ECHILD) => match received.recv() {
                            Ok(request) => watch(request),
                            Err(_) => return,
                        },
                        _ => {}
                    }
                }
            }
        }
    }
}

fn hear_the_bell() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: structures of ours; the handler does nothing; without SA_RESTART it ends a wait.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(BELL, &raw const action, ptr::null_mut());
        let mut bell: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut bell);
        libc::sigaddset(&raw mut bell, BELL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const bell, ptr::null_mut());
    }
}

fn trace(request: libc::c_uint, thread: i32, data: usize) -> bool {
    // SAFETY: requests that read or write no memory of ours but by `data`, which callers answer for.
    unsafe { libc::ptrace(request, thread, 0_usize, data) != -1 }
}

/// All its threads, and what they start. Those that are watched already say no.
fn watch((process, done): Request) {
    let options = libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACEEXEC;
    let mut any = true;
    while any {
        any = false;
        let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter();
        let numbers = threads.flatten().flatten();
        for thread in numbers.filter_map(|one| one.file_name().to_str()?.parse().ok()) {
            any |= trace(libc::PTRACE_SEIZE, thread, options as usize);
        }
    }
    let _ = done.send(());
}

/// One of them stands still, or has ended.
fn stopped(thread: i32, status: i32) {
    if !libc::WIFSTOPPED(status) {
        return;
    }
    let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
    let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    match event {
        // Another program has no handlers.
        libc::PTRACE_EVENT_EXEC => trace(libc::PTRACE_DETACH, thread, 0),
        // It is stopped by a signal, and goes on by another one.
        libc::PTRACE_EVENT_STOP if stops.contains(&signal) => trace(libc::PTRACE_LISTEN, thread, 0),
        0 => {
            restart(thread);
            trace(libc::PTRACE_CONT, thread, signal as usize)
        }
        _ => trace(libc::PTRACE_CONT, thread, 0),
    };
}

/// A signal is about to be handled: if it has cut a call short that never would be, that is begun anew afterwards.
#[cfg(target_arch = "x86_64")]
fn restart(thread: i32) {
    /// The kernel's own, which programs never see.
    const RESTART_BY_FLAGS: u64 = -512_i64 as u64;
    const RESTART_ALWAYS: u64 = -513_i64 as u64;
    // SAFETY: plain integers; all-zero is a value.
    let mut words: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let known = trace(libc::PTRACE_GETREGS, thread, (&raw mut words) as usize);
    if !known || words.rax != RESTART_BY_FLAGS {
        return;
    }
    if never_cut_short(thread, words.orig_rax as libc::c_long, words.rdi as i32) {
        words.rax = RESTART_ALWAYS;
        trace(libc::PTRACE_SETREGS, thread, (&raw const words) as usize);
    }
}

/// Elsewhere the filter sends no call that would have a process watched.
#[cfg(not(target_arch = "x86_64"))]
fn restart(_: i32) {}

/// A call that goes to the supervisor, and that a bare program never sees end with EINTR.
#[cfg(target_arch = "x86_64")]
fn never_cut_short(thread: i32, number: libc::c_long, fd: i32) -> bool {
    match number {
        // Of a pipe or a socket they are.
        libc::SYS_read
        | libc::SYS_write
        | libc::SYS_readv
        | libc::SYS_writev
        | libc::SYS_preadv2
        | libc::SYS_pwritev2
        | libc::SYS_sendfile
        | libc::SYS_splice
        | libc::SYS_ioctl => {
            let path = format!("/proc/{thread}/fd/{fd}");
            fs::metadata(path).is_ok_and(|file| file.is_file())
        }
        number => super::filter::is_sent(number),
    }
}
