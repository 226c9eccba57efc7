//! What a site jumps to: a few instructions of ours within reach of it, which ask a function of ours and lead back.
//!
//! The jump takes the place of `mov eax, number`, and the `syscall` behind stays where it is, so that cancellation,
//! debuggers and whoever returns there find what they know. (Where a program's own `syscall` has no such instruction before
//! it, it moves into the stub, with what stands around it.) The stub leaves the 128 bytes below the stack pointer alone,
//! which are the function's, and keeps every register but the one that the `mov` writes, and, where the `syscall` comes
//! next, those that it loses. What asks says how to unwind out of it: as if the site had called it.

use core::ffi::c_long;
use core::sync::atomic::{AtomicUsize, Ordering::*};

use super::code::SYSCALL;
use super::entries;
use super::plan::{AROUND, JUMP, ROOM as ROOM_TO_MOVE};
use crate::doors::syscall::{self, Call};
use kernel::code::PAGE;

/// Below the stack pointer, and still the function's.
const RED_ZONE: usize = 128;
/// Also what a stub's place is a multiple of: so its beginning is found from within.
const LEN: usize = 128;

/// Where its code begins.
const CODE: usize = size_of::<Site>();

/// Who is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// [`rings`](super::rings), which number to use: the site may lie anywhere.
    Rings,
    /// [`posix`](super::posix): the system call comes next, and no register but those of integers is in use.
    Posix,
    /// [`loader`](super::loader): the same.
    Loader,
    /// [`raw`](super::raw): the system call comes next, and everything is in use.
    Raw,
}

/// What the site had in its registers, and a result in the last.
#[repr(C)]
pub struct Registers {
    r9: usize,
    r8: usize,
    r10: usize,
    rdx: usize,
    rsi: usize,
    rdi: usize,
    pub rax: usize,
}

impl Registers {
    pub fn arguments(&self) -> [usize; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// The system call by the hook that knows it; its result where the kernel's would stand.
    ///
    /// # Safety
    /// It is what the program was about to ask of the kernel.
    pub unsafe fn by_the_hook(&mut self, number: c_long) {
        let call = Call {
            real: syscall::directly,
            number,
            words: self.arguments(),
        };
        let errno = kernel::errno();
        // SAFETY: as the caller promises.
        let result = unsafe { syscall::enter(&call) };
        self.rax = match result {
            -1 => (kernel::errno() as usize).wrapping_neg(),
            result => result as usize,
        };
        kernel::set_errno(errno);
    }
}

/// The beginning of a stub.
#[repr(C)]
pub struct Site {
    asks: usize,
    /// Where it seems to be called from.
    back: usize,
    number: u32,
    /// How far above the stack pointer the caller's stack begins.
    frame: u32,
}

impl Site {
    pub fn number(&self) -> c_long {
        c_long::from(self.number)
    }

    /// Where the site's function returns to.
    ///
    /// # Safety
    /// `stack` is the stack pointer at the site.
    pub unsafe fn returns_to(&self, stack: *const u8) -> usize {
        // SAFETY: what called the function has pushed it there.
        unsafe { stack.add(self.frame as usize).cast::<usize>().sub(1).read() }
    }
}

impl Asks {
    fn address(self) -> usize {
        let it = match self {
            Asks::Rings => entries::pagefence_site_rings,
            Asks::Posix => entries::pagefence_site_posix,
            Asks::Loader => entries::pagefence_site_loader,
            Asks::Raw => entries::pagefence_site_raw,
        };
        it as *const () as usize
    }

    /// Whether this processor can keep what must be kept.
    pub fn can_be_asked(self) -> bool {
        let features = core::arch::x86_64::__cpuid(1).ecx;
        const OSXSAVE: u32 = 1 << 27;
        !matches!(self, Asks::Rings | Asks::Raw) || features & OSXSAVE != 0
    }
}

/// What a jump takes the place of, and where it leads.
pub struct Jump {
    /// Where it stands.
    pub site: usize,
    /// Where the site's program begins, beneath which there may be room.
    pub below: usize,
    pub asks: Asks,
    pub number: u32,
    pub frame: u32,
    /// Instructions that it takes the place of, and that are to be done before and behind.
    pub before: Moved,
    pub behind: Moved,
    pub then: Then,
}

/// Instructions that stood somewhere else.
#[derive(Clone, Copy, Default)]
pub struct Moved {
    pub bytes: [u8; ROOM_TO_MOVE],
    pub len: usize,
    /// Where they stood.
    pub from: usize,
    /// Where those end that say in their last four bytes how far away from there something is; 0: no further one.
    pub distances_end: [usize; AROUND],
}

/// What follows when somebody was asked.
#[derive(Clone, Copy)]
pub enum Then {
    /// The site goes on there.
    GoesOn(usize),
    /// The `syscall` there is made, unless it has been made already.
    Calls(usize),
    /// The `syscall` is made in the stub, unless it has been made already, and the site goes on there.
    CallsHere { syscall: usize, end: usize },
}

/// Pages of stubs; 0: not mapped yet. In use: so many of their bytes.
struct Room {
    at: AtomicUsize,
    used: AtomicUsize,
}

static ROOMS: [Room; 64] = [const {
    Room {
        at: AtomicUsize::new(0),
        used: AtomicUsize::new(0),
    }
}; 64];

/// Of which only pages with stubs need memory.
const ROOM: usize = 16 * PAGE;

/// How far a jump leads, and a little less.
const REACH: usize = (1 << 31) - (1 << 20);

impl Jump {
    /// Makes the stub, and says how to jump there. One at a time.
    pub fn make(&self) -> Option<[u8; JUMP]> {
        let there = || ROOMS.iter().filter(|room| room.at.load(Acquire) != 0);
        let near = || there().filter(|room| room.at.load(Acquire).abs_diff(self.site) < REACH);
        // A library that was loaded there before had the same.
        if let Some(at) = near().find_map(|room| self.made_before(room)) {
            return instruction(0xe9, self.site, at + CODE);
        }
        let room = match near().find(|room| room.used.load(Acquire) + LEN <= ROOM) {
            Some(room) => room,
            None => {
                let room = ROOMS.iter().find(|room| room.at.load(Acquire) == 0)?;
                room.at.store(free_pages(self.below)?, Release);
                room
            }
        };
        let used = room.used.load(Acquire);
        let at = room.at.load(Acquire) + used;
        let stub = self.stub(at)?;
        // SAFETY: a page of ours, of which nobody runs this part yet.
        if !unsafe { kernel::code::put(at, &stub, true) } {
            return None;
        }
        room.used.store(used + LEN, Release);
        instruction(0xe9, self.site, at + CODE)
    }

    fn made_before(&self, room: &Room) -> Option<usize> {
        let first = room.at.load(Acquire);
        let mut stubs = (0..room.used.load(Acquire)).step_by(LEN).map(|n| first + n);
        stubs.find(|at| {
            // SAFETY: stubs stand in so much of a room, which can be read.
            unsafe {
                (*(*at as *const Site)).back == self.back()
                    && self
                        .stub(*at)
                        .is_some_and(|stub| kernel::stands(*at, &stub))
            }
        })
    }

    fn back(&self) -> usize {
        match self.then {
            Then::GoesOn(at) | Then::Calls(at) => at,
            Then::CallsHere { syscall, .. } => syscall + SYSCALL.len(),
        }
    }

    /// The stub's bytes.
    fn stub(&self, at: usize) -> Option<[u8; LEN]> {
        let mut stub = Bytes {
            all: [0xcc; LEN],
            end: 0,
        };
        stub.add(&self.asks.address().to_le_bytes()); //         as `Site` has it
        stub.add(&self.back().to_le_bytes());
        stub.add(&self.number.to_le_bytes());
        stub.add(&self.frame.to_le_bytes());
        stub.add_moved(&self.before, at)?;
        const _: () = assert!(RED_ZONE == 0x80);
        stub.add(&[0x48, 0x8d, 0x64, 0x24, 0x80]); //            lea rsp, [rsp - 128]
        let to_asks = (-6 - stub.end as i32).to_le_bytes();
        stub.add(&[0xff, 0x15]); //                              call [rip + to_asks]
        stub.add(&to_asks);
        stub.add(&[0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0]); //   lea rsp, [rsp + 128]
        match self.then {
            Then::GoesOn(to) => stub.jump(at, to)?,
            Then::Calls(to) => {
                stub.add(&[0xe3, 0x05]); //                      jrcxz to the second jump
                stub.jump(at, to + SYSCALL.len())?;
                stub.jump(at, to)?;
            }
            Then::CallsHere { end, .. } => {
                stub.add(&[0xe3, 0x02]); //                      jrcxz to the call
                stub.add(&[0xeb, 0x02]); //                      jmp past it
                stub.add(&SYSCALL);
                stub.add_moved(&self.behind, at)?;
                stub.jump(at, end)?;
            }
        }
        (stub.end <= LEN).then_some(stub.all)
    }
}

struct Bytes {
    all: [u8; LEN],
    end: usize,
}

impl Bytes {
    fn add(&mut self, part: &[u8]) {
        let room = self.all.iter_mut().skip(self.end);
        room.zip(part).for_each(|(to, from)| *to = *from);
        self.end += part.len();
    }

    /// The stub begins at `at`.
    fn add_moved(&mut self, moved: &Moved, at: usize) -> Option<()> {
        let mut bytes = moved.bytes;
        let by = moved.from.wrapping_sub(at + self.end) as isize;
        for end in moved.distances_end.into_iter().filter(|end| *end != 0) {
            let distance = bytes.get_mut(..end)?.last_chunk_mut::<4>()?;
            let now = i32::from_le_bytes(*distance) as isize + by;
            *distance = i32::try_from(now).ok()?.to_le_bytes();
        }
        self.add(bytes.get(..moved.len)?);
        Some(())
    }

    fn jump(&mut self, at: usize, to: usize) -> Option<()> {
        self.add(&instruction(0xe9, at + self.end, to)?);
        Some(())
    }
}

/// Free pages below the program: above it may be its heap, which grows.
fn free_pages(below: usize) -> Option<usize> {
    const STEPS: usize = 1 << 13;
    let first = below / ROOM * ROOM;
    let mut places = (1..=STEPS)
        .filter_map(|n| first.checked_sub(n * ROOM))
        .filter(|at| *at >= ROOM);
    places.find_map(|at| kernel::code::map_to_run(at, ROOM))
}

/// A jump, with this first byte, from one place to another.
fn instruction(first: u8, from: usize, to: usize) -> Option<[u8; JUMP]> {
    let distance = i32::try_from((to as isize).wrapping_sub((from + JUMP) as isize)).ok()?;
    let [a, b, c, d] = distance.to_le_bytes();
    Some([first, a, b, c, d])
}
