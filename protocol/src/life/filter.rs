//! A seccomp filter, asked what it says of a call: classic BPF over the call's number and arguments, interpreted as the
//! kernel does. Jumps only lead forward, so it ends; whatever isn't an instruction that the kernel lets a filter have
//! ends it too, as "kill".

/// One instruction, as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// What a filter sees of a call: the kernel's `struct seccomp_data`.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: u32,
    pub architecture: u32,
    /// Where the call is made from.
    pub from: u64,
    pub arguments: [u64; 6],
}

/// The filter's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// `SECCOMP_RET_*`, with its data.
    pub says: u32,
    /// It looked at more than the number and the architecture: of other arguments it may say something else.
    pub depends: bool,
}

const ACTION: u32 = 0xffff_0000;
pub const ALLOWED: Answer = Answer {
    says: 0x7fff_0000,
    depends: false,
};
pub const KILL_THREAD: u32 = 0;
#[cfg(target_arch = "x86_64")]
pub const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub const ARCHITECTURE: u32 = 0xc000_00b7;

impl Answer {
    /// It ends the call with an error, and nothing else happens.
    pub fn is_error(self) -> bool {
        const ERROR: u32 = 0x0005_0000;
        self.says & ACTION == ERROR
    }

    /// Which of two answers counts: the kernel takes the lower, and killing is below zero.
    pub fn stricter(self, other: Answer) -> Answer {
        let rank = |a: Answer| (a.says & ACTION).cast_signed();
        if rank(other) < rank(self) {
            other
        } else {
            self
        }
    }

    /// Allowed, or allowed and logged. An errno, a signal, a tracer or a supervisor is no call of ours to be tried.
    pub fn allows(self) -> bool {
        const ALLOW: u32 = 0x7fff_0000;
        const LOG: u32 = 0x7ffc_0000;
        matches!(self.says & ACTION, ALLOW | LOG)
    }
}

/// The bytes of `struct seccomp_data`, of which filters load words.
const DATA: u32 = 64;

impl Call {
    fn word(&self, at: u32) -> Option<u32> {
        let half = |value: u64, at: u32| {
            if at.is_multiple_of(8) {
                value as u32
            } else {
                (value >> 32) as u32
            }
        };
        match at {
            0 => Some(self.number),
            4 => Some(self.architecture),
            8 | 12 => Some(half(self.from, at)),
            16..DATA if at.is_multiple_of(4) => {
                let argument = self.arguments.get((at as usize - 16) / 8)?;
                Some(half(*argument, at))
            }
            _ => None,
        }
    }
}

/// The machine: accumulator, index and 16 words.
#[derive(Default)]
struct Machine {
    a: u32,
    x: u32,
    memory: [u32; 16],
    depends: bool,
}

enum Next {
    Go,
    /// So many instructions are left out.
    Skip(u32),
    Ends(u32),
}

/// What the filter says of the call.
pub fn ask(filter: &[Instruction], call: &Call) -> Answer {
    let mut machine = Machine::default();
    let mut at = 0usize;
    // As many steps as instructions, and no more: every one of them leads forward.
    for _ in 0..filter.len() {
        let next = filter.get(at).and_then(|i| machine.step(i, call));
        match next {
            Some(Next::Go) => at += 1,
            Some(Next::Skip(n)) => at = at.saturating_add(1).saturating_add(n as usize),
            Some(Next::Ends(says)) => {
                return Answer {
                    says,
                    depends: machine.depends,
                };
            }
            None => break,
        }
    }
    // Not a filter that the kernel would take.
    Answer {
        says: KILL_THREAD,
        depends: true,
    }
}

/// Whether the kernel may take it; of one that it won't take nothing is to be said. (It also refuses to load from words
/// of memory that were never stored to, which is not looked at here.)
pub fn is_sound(filter: &[Instruction]) -> bool {
    let call = Call {
        number: 0,
        architecture: ARCHITECTURE,
        from: 0,
        arguments: [0; 6],
    };
    let ends = filter.last().is_some_and(|i| i.code & 7 == 6);
    ends && filter.iter().enumerate().all(|(at, i)| {
        let mut machine = Machine {
            x: 1,
            ..Machine::default()
        };
        let shifts = matches!(i.code, 0x64 | 0x74);
        let left = filter.len() - at - 1;
        let leads = match i.code & 0xff {
            0x05 => (i.k as usize) < left,
            code if code & 7 == 5 => usize::from(i.jt.max(i.jf)) < left,
            _ => true,
        };
        leads && !(shifts && i.k > 31) && machine.step(i, &call).is_some()
    })
}

const X: u16 = 0x08;

impl Machine {
    /// None: no instruction of a filter.
    fn step(&mut self, i: &Instruction, call: &Call) -> Option<Next> {
        let k = i.k;
        match i.code {
            // ld [k], ld len, ld #k, ld M[k]; ldx #k, ldx len, ldx M[k]
            0x20 => {
                self.a = call.word(k)?;
                self.depends |= k >= 8;
            }
            0x80 => self.a = DATA,
            0x00 => self.a = k,
            0x60 => self.a = *self.memory.get(k as usize)?,
            0x01 => self.x = k,
            0x81 => self.x = DATA,
            0x61 => self.x = *self.memory.get(k as usize)?,
            // st, stx, tax, txa
            0x02 => *self.memory.get_mut(k as usize)? = self.a,
            0x03 => *self.memory.get_mut(k as usize)? = self.x,
            0x07 => self.x = self.a,
            0x87 => self.a = self.x,
            // ret #k, ret a
            0x06 => return Some(Next::Ends(k)),
            0x16 => return Some(Next::Ends(self.a)),
            code if code & 7 == 4 => return self.calculate(code, k),
            // ja, and the conditional ones
            0x05 => return Some(Next::Skip(k)),
            code if code & 7 == 5 => {
                let with = if code & X != 0 { self.x } else { k };
                let holds = match code & !X {
                    0x15 => self.a == with,
                    0x25 => self.a > with,
                    0x35 => self.a >= with,
                    0x45 => self.a & with != 0,
                    _ => return None,
                };
                return Some(Next::Skip(if holds { i.jt } else { i.jf }.into()));
            }
            _ => return None,
        }
        Some(Next::Go)
    }

    fn calculate(&mut self, code: u16, k: u32) -> Option<Next> {
        let with = if code & X != 0 { self.x } else { k };
        self.a = match code & !X {
            0x04 => self.a.wrapping_add(with),
            0x14 => self.a.wrapping_sub(with),
            0x24 => self.a.wrapping_mul(with),
            // Division by an index of zero ends a filter with 0.
            0x34 => match self.a.checked_div(with) {
                Some(quotient) => quotient,
                None if code & X != 0 => return Some(Next::Ends(KILL_THREAD)),
                None => return None,
            },
            0x44 => self.a | with,
            0x54 => self.a & with,
            // The kernel refuses constants above 31, and takes the low bits of an index.
            0x64 => self.a.wrapping_shl(with),
            0x74 => self.a.wrapping_shr(with),
            0x84 if code & X == 0 => self.a.wrapping_neg(),
            0xa4 => self.a ^ with,
            _ => return None,
        };
        Some(Next::Go)
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
