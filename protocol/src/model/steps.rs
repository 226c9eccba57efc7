//! The protocol's steps: what a call does in which order. Each is taken at once; between two of them anything may happen.
//! The ranges and what excludes what are the code's own.

use lock_table::{Claim, FileId, Mode, conflict, in_one_unit, page, unit};

use super::linux::{CELLS, PAGE, UNIT};
use crate::calls::layout::Change;
use crate::hold::beyond::leaves_a_tail;
use crate::hold::extents::{beside, in_units, mode_of, range_of};

/// What a program calls. Places are cells; a mapping is of one page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    Read(usize),
    Write(usize, usize),
    Append,
    DirectRead(usize),
    DirectWrite(usize, usize),
    DirectAppend,
    /// A direct read of a cell into a mapped page's first cell.
    DirectReadInto(usize, usize),
    Truncate(usize),
    Punch(usize, usize),
    Fsync,
    /// Over something that another thread stores to (`MAP_FIXED`).
    Map(usize),
    /// A mapping that only reads becomes writable.
    Protect(usize),
    Unmap,
    /// Through a mapping that only reads, which nobody registers.
    Load(usize),
    /// Through the writable mapping, from when it is there.
    Store(usize),
    /// By a process that isn't fenced, through a mapping that it has had for long.
    StoreUnfenced(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Wait until nobody is in the way, and hold the range.
    Take,
    /// Read the file's size under the range, where that is needed; take more if it isn't what was guessed.
    Size,
    /// Nobody believes any longer that the file reaches beyond where it is about to be cut off.
    CutOff,
    /// Directly, or through the cache?
    Route,
    /// How often the process was told of a writeback error; where it is fallen back, the error from before.
    Look,
    /// The kernel's direct write or read: flush, and before a write drop.
    Flush,
    /// ... the device,
    Device,
    /// ... drop again; what can't be dropped is a writeback error.
    Drop,
    /// The writeback error.
    LookAgain,
    Below,
    Above,
    WriteCache,
    /// Write to the device what was written to the cache, and wait.
    Sync,
    Advise,
    Get,
    Copy,
    Cut,
    Free,
    Register,
    /// The kernel's mmap or mprotect.
    Allow,
    /// The kernel's munmap.
    Forbid,
    Forget,
    Store,
    /// The entries of mappings in which the buffers lie are kept.
    Keep,
    Pin,
    LetGo,
    Release,
}

use Step::*;

const READ: &[Step] = &[Take, Size, Get, Copy, Release];
const WRITE: &[Step] = &[Take, Size, WriteCache, Release];
const DIRECT_READ: &[Step] = &[Take, Size, Route, Flush, Device, Release];
const DIRECT_READ_INTO: &[Step] = &[Take, Size, Route, Keep, Flush, Pin, Device, Release, LetGo];
const DIRECT_WRITE: &[Step] = &[
    Take, Size, Route, Look, Flush, Device, Drop, LookAgain, Release,
];
const READ_THROUGH_CACHE: &[Step] = &[Get, Copy, Release];
const WRITE_THROUGH_CACHE: &[Step] = &[Look, WriteCache, Sync, Release];
const REPAIR: &[Step] = &[Below, Above, WriteCache, Sync, Advise, Release];
const LAYOUT: &[Step] = &[Take, Size, CutOff, Cut, Free, Release];
const MAP: &[Step] = &[Take, Register, Release, Allow];
const PROTECT: &[Step] = &[Take, Register, Release, Allow];
const UNMAP: &[Step] = &[Forbid, Forget];

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Route {
    #[default]
    AsAsked,
    /// Fallen back.
    Cache,
    /// Repairing.
    Again,
}

pub fn steps(op: Op, route: Route) -> &'static [Step] {
    match (op, route) {
        (_, Route::Again) => REPAIR,
        (Op::DirectRead(_) | Op::DirectReadInto(..), Route::Cache) => READ_THROUGH_CACHE,
        (_, Route::Cache) => WRITE_THROUGH_CACHE,
        (Op::Read(_), _) => READ,
        (Op::Write(..) | Op::Append, _) => WRITE,
        (Op::DirectRead(_), _) => DIRECT_READ,
        (Op::DirectReadInto(..), _) => DIRECT_READ_INTO,
        (Op::DirectWrite(..) | Op::DirectAppend, _) => DIRECT_WRITE,
        (Op::Truncate(_) | Op::Punch(..), _) => LAYOUT,
        (Op::Map(_), _) => MAP,
        (Op::Protect(_), _) => PROTECT,
        (Op::Unmap, _) => UNMAP,
        (Op::Load(_), _) => &[Get, Copy],
        (Op::Store(_) | Op::StoreUnfenced(_), _) => &[Store],
        (Op::Fsync, _) => &[Sync],
    }
}

/// A range that is held.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Held {
    mode: Mode,
    first: u64,
    last: u64,
}

impl Held {
    fn claim(&self) -> Claim {
        Claim {
            file: FileId { dev: 1, ino: 1 },
            first: self.first,
            last: self.last,
            mode: self.mode,
            atomic: false,
        }
    }

    pub fn excludes(&self, other: &Held) -> bool {
        conflict(&self.claim(), &other.claim())
    }

    /// How many cells of the file lie before its end.
    pub fn end(&self) -> u8 {
        let within = |c: &usize| last_byte(*c) <= self.last;
        (0..CELLS).take_while(within).count() as u8
    }

    pub fn covers(&self, other: &Held) -> bool {
        self.first <= other.first && self.last >= other.last
    }
}

/// Where a cell begins in a real file: a unit's two pages are the first and the last of a real unit, whose other pages
/// nobody uses. So the code's own arithmetic rounds here as it does there.
fn byte(cell: usize) -> u64 {
    let page_of_unit = if cell % UNIT < PAGE {
        0
    } else {
        unit() - page()
    };
    (cell / UNIT) as u64 * unit() + page_of_unit + (cell % PAGE) as u64 * cell_len()
}

fn cell_len() -> u64 {
    page() / PAGE as u64
}

fn last_byte(cell: usize) -> u64 {
    byte(cell) + cell_len() - 1
}

impl Op {
    /// First and last cell that the program means; an append's are where it goes.
    pub fn cells(self, at: u8) -> (usize, usize) {
        let at = usize::from(at);
        match self {
            Op::Read(c) | Op::DirectRead(c) | Op::Load(c) => (c, c),
            Op::Store(c) | Op::StoreUnfenced(c) => (c, c),
            Op::DirectReadInto(from, _) => (from, from),
            Op::Write(a, b) | Op::DirectWrite(a, b) | Op::Punch(a, b) => (a, b),
            Op::Append | Op::DirectAppend => (at, at),
            Op::Truncate(to) => (to, CELLS - 1),
            Op::Map(page) | Op::Protect(page) => (page * PAGE, page * PAGE + PAGE - 1),
            Op::Fsync | Op::Unmap => (0, CELLS - 1),
        }
    }

    pub fn appends(self) -> bool {
        matches!(self, Op::Append | Op::DirectAppend)
    }

    pub fn is_layout(self) -> bool {
        matches!(self, Op::Truncate(_) | Op::Punch(..))
    }

    fn is_direct(self) -> bool {
        use Op::*;
        matches!(
            self,
            DirectRead(_) | DirectWrite(..) | DirectAppend | DirectReadInto(..)
        )
    }

    pub fn writes(self) -> bool {
        use Op::*;
        matches!(self, Write(..) | Append | DirectWrite(..) | DirectAppend)
    }

    pub fn reads(self) -> bool {
        use Op::*;
        matches!(self, Read(_) | DirectRead(_) | Load(_) | DirectReadInto(..))
    }

    /// What the call must hold in a file of this size.
    pub fn range(self, size: u8, units: bool) -> Held {
        let (first, last) = self.cells(size);
        let (start, len) = (byte(first), last_byte(last) - byte(first) + 1);
        let size = byte(size.into());
        let (mode, (first, last)) = match self {
            Op::Truncate(_) => (Mode::Layout, Change::Truncate(start as i64).range(size)),
            Op::Punch(..) => {
                const PUNCH_KEEP_SIZE: i32 = 3;
                let (offset, len) = (start as i64, len as i64);
                let mode = PUNCH_KEEP_SIZE;
                (
                    Mode::Layout,
                    Change::Allocate { mode, offset, len }.range(size),
                )
            }
            Op::Map(_) | Op::Protect(_) => (Mode::BufferedWrite, (start, last_byte(last))),
            _ => {
                let mode = mode_of(self.writes(), self.is_direct());
                let start = (!self.appends()).then_some(start);
                (
                    mode,
                    range_of(self.writes(), self.appends(), start, len, size),
                )
            }
        };
        let (first, last) = if units {
            in_units(first, last)
        } else {
            (first, last)
        };
        Held { mode, first, last }
    }

    /// What a repair holds beside the pages of the write.
    pub fn beside(self, at: u8, above: bool) -> Option<Held> {
        let (first, last) = self.cells(at);
        let ranges = beside(byte(first), last_byte(last));
        ranges[usize::from(above)].map(|(first, last)| Held {
            mode: Mode::DirectWrite,
            first,
            last,
        })
    }

    /// Whether a direct call at a place must go through the cache, in a file of this size, with this page mapped.
    pub fn must_fall_back(self, at: u8, size: u8, mapped: Option<usize>) -> bool {
        let (first, last) = self.cells(at);
        let touches_from = self.range(size, false).first.min(byte(first));
        let mapped = mapped.map(|page| (byte(page * PAGE), last_byte(page * PAGE + PAGE - 1)));
        mapped.is_some_and(|m| in_one_unit(m, (touches_from, last_byte(last))))
            || self.writes() && leaves_a_tail(byte(first), byte(size.into()))
    }
}
