//! A child that is watched instruction by instruction, and can be killed before any of them, or in the middle of a
//! system call.

use super::common::Child;
use std::io::Error;
use std::time::Duration;

/// Where the watched part begins and ends: the child stops here.
#[inline(always)]
pub fn mark() {
    // SAFETY: stops a traced process, and changes nothing in it.
    unsafe { std::arch::asm!("int3") };
}

/// How long the child is given to fall asleep in a system call.
const ASLEEP: Duration = Duration::from_micros(500);

/// What the child would execute next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    Mark,
    SystemCall,
    /// A system call that waits for somebody: FUTEX_WAIT.
    Sleep,
    Other,
}

/// Traced by the thread that made it, and by no other.
pub struct Traced(Child);

impl Traced {
    /// A child that stands at its first mark.
    pub fn start(body: impl FnOnce() -> i32) -> Traced {
        let child = Child::run(|| {
            // SAFETY: concerns this process alone.
            if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } != 0 {
                return 100;
            }
            body()
        });
        let traced = Traced(child);
        assert_eq!(traced.stopped(), Ok(libc::SIGTRAP), "before the mark");
        traced
    }

    pub fn pid(&self) -> i32 {
        self.0.0
    }

    fn ask(&self, request: libc::c_uint, at: usize, data: usize) -> libc::c_long {
        // SAFETY: a traced child of this thread, which stands still.
        unsafe { libc::ptrace(request, self.pid(), at, data) }
    }

    /// Waits until the child stops: the signal; or how it ended.
    fn stopped(&self) -> Result<i32, i32> {
        let mut status = 0;
        // SAFETY: waits for our child.
        let pid = unsafe { libc::waitpid(self.pid(), &mut status, libc::__WALL) };
        assert_eq!(pid, self.pid(), "{}", Error::last_os_error());
        if libc::WIFSTOPPED(status) {
            Ok(libc::WSTOPSIG(status))
        } else {
            Err(status)
        }
    }

    fn registers(&self) -> libc::user_regs_struct {
        // SAFETY: all zeros is a set of registers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        let read = self.ask(libc::PTRACE_GETREGS, 0, (&raw mut registers) as usize);
        assert_eq!(read, 0, "{}", Error::last_os_error());
        registers
    }

    /// The address of the next instruction, and what it is.
    pub fn next(&self) -> (u64, Next) {
        let registers = self.registers();
        let code = self.ask(libc::PTRACE_PEEKTEXT, registers.rip as usize, 0);
        let next = match code.to_ne_bytes() {
            [0xcc, ..] => Next::Mark,
            [0x0f, 0x05, ..] => {
                let command = registers.rsi as i32 & libc::FUTEX_CMD_MASK;
                let futex = registers.rax as i64 == libc::SYS_futex;
                if futex && [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET].contains(&command) {
                    Next::Sleep
                } else {
                    Next::SystemCall
                }
            }
            _ => Next::Other,
        };
        (registers.rip, next)
    }

    fn go(&self, how: libc::c_uint) {
        let going = self.ask(how, 0, 0);
        assert_eq!(going, 0, "{}", Error::last_os_error());
    }

    /// One instruction. Not at the mark.
    pub fn step(&self) {
        self.go(libc::PTRACE_SINGLESTEP);
        assert_eq!(self.stopped(), Ok(libc::SIGTRAP));
    }

    /// Lets the child run until it has come to this instruction so many times, now included. False when it goes another
    /// way, and so comes to a mark first.
    pub fn run_to(&self, address: u64, times: usize) -> bool {
        let at = address as usize;
        let code = self.ask(libc::PTRACE_PEEKTEXT, at, 0);
        for left in (0..times).rev() {
            self.ask(libc::PTRACE_POKETEXT, at, (code & !0xff | 0xcc) as usize);
            self.go(libc::PTRACE_CONT);
            assert_eq!(self.stopped(), Ok(libc::SIGTRAP));
            self.ask(libc::PTRACE_POKETEXT, at, code as usize);
            let mut registers = self.registers();
            if registers.rip != address + 1 {
                return false;
            }
            registers.rip = address;
            self.ask(libc::PTRACE_SETREGS, 0, (&raw mut registers) as usize);
            if left > 0 {
                self.step();
            }
        }
        true
    }

    /// One system call in which the child sleeps; `meanwhile`, something that wakes it.
    pub fn step_asleep(&self, meanwhile: impl FnOnce()) {
        self.go(libc::PTRACE_SINGLESTEP);
        std::thread::sleep(ASLEEP);
        meanwhile();
        assert_eq!(self.stopped(), Ok(libc::SIGTRAP));
    }

    /// Lets the child go into a system call and no further.
    pub fn enter(&self, asleep: bool) {
        self.go(libc::PTRACE_SINGLESTEP);
        if asleep {
            std::thread::sleep(ASLEEP);
        }
    }

    /// Kills it, and waits until it is no more. (Where it had ended by itself there is nothing to kill.)
    pub fn kill(self) {
        self.0.signal(libc::SIGKILL);
        while self.stopped().is_ok() {}
    }
}
