//! The ways in which a program gets to the end of its asynchronous requests.

use crate::aio::{Context, Event, Request, list};
use crate::sys::{Buffer, Res, failed};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It calls for its completions and waits.
    Taken,
    /// A while later, and another thread of its does.
    Late,
    /// It sees them in the ring and doesn't take them.
    Never,
    /// Epoll tells it of an eventfd that is told of them.
    Told,
    /// It takes them off the ring by itself.
    Looked,
    /// It destroys the context with the requests in flight.
    Destroyed,
    /// It forks with them in flight, and takes none until the child has read there, asynchronously too.
    Forked,
    /// A child submits them and executes another program.
    Executed,
}

pub const ENDS: [(&str, End); 8] = [
    ("taken", End::Taken),
    ("late", End::Late),
    ("never", End::Never),
    ("told", End::Told),
    ("looked", End::Looked),
    ("destroyed", End::Destroyed),
    ("forked", End::Forked),
    ("executed", End::Executed),
];

/// Nobody waits longer for a completion.
const PATIENCE: Duration = Duration::from_secs(50);
/// As many as a context has room for.
const ROOM: usize = 64;

/// A process's context, and how its requests end.
pub struct Requests {
    end: End,
    context: Context,
    /// How many lie in the ring that nobody takes.
    untaken: usize,
    /// An eventfd, and an epoll that waits for it.
    told: Option<(i32, i32)>,
}

impl Requests {
    pub fn new(end: End) -> Res<Requests> {
        Ok(Requests {
            end,
            context: Context::new(ROOM as u32)?,
            untaken: 0,
            told: (end == End::Told).then(told).transpose()?,
        })
    }

    /// Makes them all, at the same time. When it returns they are done.
    pub fn all(&mut self, requests: &mut [Request]) -> Res<()> {
        let count = requests.len();
        match self.end {
            End::Taken => self.context.all(requests),
            End::Late => self.taken_late(requests),
            End::Told => self.heard_of(requests),
            End::Forked => self.read_by_a_child(requests),
            End::Executed => by_a_child_that_executes(requests),
            End::Looked => {
                self.context.submit(&list(requests))?;
                self.look(count)
            }
            End::Never => {
                if self.untaken + count > ROOM {
                    self.begin_anew()?;
                }
                self.untaken += count;
                self.context.submit(&list(requests))?;
                let all = || Ok(self.context.untaken() as usize == self.untaken);
                until(all, "completions don't come into the ring")
            }
            End::Destroyed => {
                self.context.submit(&list(requests))?;
                self.begin_anew()
            }
        }
    }

    fn begin_anew(&mut self) -> Res<()> {
        let next = Context::new(ROOM as u32)?;
        drop(std::mem::replace(&mut self.context, next));
        self.untaken = 0;
        Ok(())
    }

    fn look(&self, count: usize) -> Res<()> {
        let mut done = 0;
        let all = || {
            let mut events = [Event::default(); 16];
            let n = self.context.look(&mut events);
            events[..n].iter().try_for_each(Event::must_be_whole)?;
            done += n;
            Ok(done == count)
        };
        until(all, "completions aren't found in the ring")
    }

    fn taken_late(&self, requests: &mut [Request]) -> Res<()> {
        self.context.submit(&list(requests))?;
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(700));
                self.context.take(requests.len())
            });
            other
                .join()
                .unwrap_or_else(|_| Err("the other thread".to_owned()))
        })
    }

    fn heard_of(&self, requests: &mut [Request]) -> Res<()> {
        let Some((event, epoll)) = self.told else {
            return Err("no eventfd".to_owned());
        };
        requests.iter_mut().for_each(|request| request.tells(event));
        self.context.submit(&list(requests))?;
        let mut done = 0;
        while done < requests.len() {
            let mut heard = libc::epoll_event { events: 0, u64: 0 };
            // SAFETY: room for one event; and a counter of 8 bytes.
            unsafe {
                if libc::epoll_wait(epoll, &mut heard, 1, 50_000) != 1 {
                    return failed(&format!("heard of {done} of {}", requests.len()));
                }
                let mut count = 0u64;
                libc::read(event, (&raw mut count).cast(), 8);
            }
            // It hears once of what has come: it takes all.
            loop {
                let mut events = [Event::default(); 3];
                let n = self.context.get(0, &mut events)?;
                events[..n].iter().try_for_each(Event::must_be_whole)?;
                done += n;
                if n == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    fn read_by_a_child(&self, requests: &mut [Request]) -> Res<()> {
        let mut buffer = Buffer::new(1 << 20)?;
        self.context.submit(&list(requests))?;
        let child = fork(|| {
            let mut reads: Vec<_> = requests
                .iter()
                .map(|request| request.read_there(buffer.bytes()))
                .collect();
            Context::new(ROOM as u32)?.all(&mut reads)
        })?;
        await_child(child)?;
        self.context.take(requests.len())
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        if let Some((event, epoll)) = self.told {
            // SAFETY: ours, and not used again.
            unsafe {
                libc::close(event);
                libc::close(epoll);
            }
        }
    }
}

fn until(mut there: impl FnMut() -> Res<bool>, otherwise: &str) -> Res<()> {
    let begun = Instant::now();
    while !there()? {
        if begun.elapsed() > PATIENCE {
            return Err(otherwise.to_owned());
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// An eventfd, and an epoll that says once that it has been told something.
fn told() -> Res<(i32, i32)> {
    // SAFETY: plain calls; the event is ours.
    unsafe {
        let event = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let mut wanted = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLET) as u32,
            u64: 0,
        };
        match libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, event, &mut wanted) {
            0 => Ok((event, epoll)),
            _ => failed("an eventfd and epoll"),
        }
    }
}

fn by_a_child_that_executes(requests: &mut [Request]) -> Res<()> {
    let child = fork(|| {
        let context = Context::new(ROOM as u32)?;
        context.submit(&list(requests))?;
        // SAFETY: the strings are C strings, and the list ends with none.
        unsafe { libc::execl(c"/bin/true".as_ptr(), c"true".as_ptr(), NONE) };
        failed("exec")
    })?;
    await_child(child)
}

const NONE: *const libc::c_char = std::ptr::null();

/// A child that does this and ends, at the latest with its parent.
fn fork(work: impl FnOnce() -> Res<()>) -> Res<libc::pid_t> {
    // SAFETY: this process has one thread, so the child may go on as a normal program.
    let parent = unsafe { libc::getpid() };
    // SAFETY: as above.
    match unsafe { libc::fork() } {
        -1 => failed("fork"),
        0 => {
            // SAFETY: plain calls.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if libc::getppid() != parent {
                    libc::_exit(0);
                }
            }
            let result = work();
            if let Err(error) = &result {
                eprintln!("a child: {error}");
            }
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        pid => Ok(pid),
    }
}

fn await_child(pid: libc::pid_t) -> Res<()> {
    let mut status = 0;
    // SAFETY: the status is ours.
    match unsafe { libc::waitpid(pid, &mut status, 0) } {
        -1 => failed("waitpid"),
        _ if status == 0 => Ok(()),
        _ => Err(format!("a child ended with status {status:#x}")),
    }
}
