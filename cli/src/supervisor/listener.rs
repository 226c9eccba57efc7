//! The number by which the supervisor hears of calls, and answers them (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// One call of a program, which waits for the answer.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Call {
    id: u64,
    /// The thread's.
    pub thread: u32,
    flags: u32,
    number: i32,
    architecture: u32,
    at: u64,
    pub arguments: [u64; 6],
}

/// What the program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel does it, as it would have without us.
    Itself,
    Result(i64),
    Error(i32),
    /// It has been given already.
    Given,
}

impl Answer {
    /// Of libc: -1 is an error, which errno has.
    pub fn of(result: i64) -> Answer {
        match result {
            -1 => Answer::Error(kernel::errno()),
            result => Answer::Result(result),
        }
    }
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
struct Addition {
    id: u64,
    flags: u32,
    from: u32,
    to: u32,
    number_flags: u32,
}

const fn request(direction: usize, number: usize, size: usize) -> usize {
    direction << 30 | size << 16 | (b'!' as usize) << 8 | number
}

const RECEIVE: usize = request(3, 0, size_of::<Call>());
const SEND: usize = request(3, 1, size_of::<Response>());
const IS_VALID: usize = request(1, 2, size_of::<u64>());
const ADD: usize = request(1, 3, size_of::<Addition>());
const SET_FLAGS: usize = request(1, 4, size_of::<u64>());

pub struct Listener(OwnedFd);

impl Listener {
    pub fn new(number: OwnedFd) -> Listener {
        let listener = Listener(number);
        // The program is woken on the processor that the answer comes from, for that one waits now. Linux 6.6; without it
        // a call takes longer.
        const ON_THIS_PROCESSOR: usize = 1;
        let _ = listener.control(SET_FLAGS, ON_THIS_PROCESSOR);
        listener
    }

    /// Raw: the library has no business with this number, and each call of a program comes by here.
    fn control(&self, request: usize, argument: usize) -> io::Result<usize> {
        let arguments = [self.0.as_raw_fd() as usize, request, argument, 0, 0, 0];
        // SAFETY: callers give a structure of the size that the request says, or a plain number.
        let got = unsafe { kernel::any(libc::SYS_ioctl as usize, arguments) };
        Ok(kernel::result(got)?)
    }

    /// The next call. None: the caller has ended meanwhile, or something like it.
    pub fn receive(&self) -> Option<Call> {
        let mut call = Call::default();
        let got = self.control(RECEIVE, (&raw mut call) as usize);
        got.ok().map(|_| call)
    }

    /// Whether the caller still waits: until then its thread's number is its own.
    pub fn still_waits(&self, call: &Call) -> bool {
        self.control(IS_VALID, (&raw const call.id) as usize)
            .is_ok()
    }

    /// An answer to one who has ended is nobody's loss.
    pub fn answer(&self, call: &Call, answer: Answer) {
        const CONTINUE: u32 = 1;
        let (value, error, flags) = match answer {
            Answer::Itself => (0, 0, CONTINUE),
            Answer::Result(value) => (value, 0, 0),
            Answer::Error(error) => (0, -error, 0),
            Answer::Given => return,
        };
        let response = Response {
            id: call.id,
            value,
            error,
            flags,
        };
        let _ = self.control(SEND, (&raw const response) as usize);
    }

    /// The caller gets a number of its own for this one of ours, which is its answer.
    pub fn give(&self, call: &Call, number: i32, close_on_exec: bool) -> io::Result<i32> {
        const IS_ANSWER: u32 = 2;
        let addition = Addition {
            id: call.id,
            flags: IS_ANSWER,
            from: number as u32,
            to: 0,
            number_flags: if close_on_exec {
                libc::O_CLOEXEC as u32
            } else {
                0
            },
        };
        let got = self.control(ADD, (&raw const addition) as usize)?;
        Ok(got as i32)
    }

    /// Waits until nobody is left whose calls could come.
    pub fn wait_for_end(&self) {
        let mut one = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: 0,
            revents: 0,
        };
        loop {
            // SAFETY: one structure, as is said.
            let got = unsafe { libc::poll(&raw mut one, 1, -1) };
            if got > 0 {
                return;
            }
        }
    }
}

impl Call {
    pub fn number(&self) -> libc::c_long {
        self.number.into()
    }

    pub fn fd(&self, which: usize) -> i32 {
        self.arguments[which] as i32
    }

    pub fn size(&self, which: usize) -> usize {
        self.arguments[which] as usize
    }

    pub fn offset(&self, which: usize) -> i64 {
        self.arguments[which] as i64
    }

    pub fn flags(&self, which: usize) -> i32 {
        self.arguments[which] as i32
    }
}
