//! What was done to one file: calls, with sums of the blocks that they moved.

use std::ops::Range;
use std::sync::Arc;

use trace::{BLOCK, Mode, What, whole_blocks};

/// A call on the file. Its beginning is earlier and its end later than they were told, by as much as clocks may be wrong.
#[derive(Clone, Debug)]
pub struct Done {
    pub begin: u64,
    /// `zones::NEVER`: its process was killed in it.
    pub end: u64,
    /// Whose: an index into the programs.
    pub who: u32,
    pub process: u32,
    pub thread: u32,
    pub what: What,
    pub mode: Mode,
    pub appends: bool,
    /// What it moved, the first and last byte. None: that isn't known.
    pub range: Option<(u64, u64)>,
    /// From where on it may have moved something, where its range isn't known.
    pub beyond: u64,
    /// The first block that is summed, and where the sums are.
    pub block: u64,
    pub sums: Range<usize>,
}

/// Bytes of which nobody knows what they hold, from then to then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unknown {
    pub begin: u64,
    pub end: u64,
    /// The first block and the last.
    pub blocks: (u64, u64),
    pub why: Why,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    /// Stores through a mapping.
    Mapped,
    /// A copy, a change of layout, or a call whose bytes aren't known.
    Changed,
    /// A write of a part of the block.
    Part,
    /// Records that were overwritten.
    Lost,
}

/// The file, by what it was in one life of its inode.
#[derive(Default)]
pub struct History {
    pub path: Arc<[u8]>,
    pub done: Vec<Done>,
    pub sums: Vec<u32>,
}

const LAST_BLOCK: u64 = u64::MAX / BLOCK;

fn blocks_of((first, last): (u64, u64)) -> (u64, u64) {
    (first / BLOCK, last / BLOCK)
}

impl Done {
    pub fn is_read(&self) -> bool {
        self.what == What::Read
    }

    /// The blocks that are summed: the first, and behind the last.
    pub fn summed(&self) -> (u64, u64) {
        (
            self.block,
            self.block.saturating_add(self.sums.len() as u64),
        )
    }

    /// What isn't known from it on, of a call that is no read.
    pub fn leaves_unknown(&self, all: &mut Vec<Unknown>) {
        let mut put = |blocks: (u64, u64), why| {
            if blocks.0 <= blocks.1 {
                let (begin, end) = (self.begin, self.end);
                all.push(Unknown {
                    begin,
                    end,
                    blocks,
                    why,
                });
            }
        };
        match self.what {
            What::Read | What::Sync | What::Unmap => {}
            What::Map => {
                let blocks = self.range.map_or((0, LAST_BLOCK), blocks_of);
                // A child of the process has it, too, when it is unmapped.
                all.push(Unknown {
                    begin: self.begin,
                    end: u64::MAX,
                    blocks,
                    why: Why::Mapped,
                });
            }
            What::Copy | What::Layout => {
                put(self.range.map_or((0, LAST_BLOCK), blocks_of), Why::Changed);
            }
            What::Write => {
                let Some(range) = self.range else {
                    return put((self.beyond / BLOCK, LAST_BLOCK), Why::Changed);
                };
                let (first, last) = blocks_of(range);
                let (from, behind) = self.summed();
                if from == behind {
                    return put((first, last), Why::Part);
                }
                let (whole, count) = whole_blocks(range.0, (range.1 - range.0).saturating_add(1));
                let why = |is_part| if is_part { Why::Part } else { Why::Changed };
                if first < from {
                    put((first, from - 1), why(from == whole));
                }
                put((behind, last), why(behind == whole.saturating_add(count)));
            }
        }
    }
}

impl Unknown {
    /// All that was until then.
    pub fn until(moment: u64) -> Unknown {
        Unknown {
            begin: 0,
            end: moment,
            blocks: (0, LAST_BLOCK),
            why: Why::Lost,
        }
    }
}

impl History {
    /// Where an append went is told by the file offset. Threads of one process that were at it at the same moment may have
    /// moved it for each other.
    pub fn forget_doubtful(&mut self) {
        let mut order: Vec<usize> = (0..self.done.len()).collect();
        let by = |at: &usize| self.done.get(*at).map(|done| (done.process, done.begin));
        order.sort_by_key(by);
        let mut doubtful = Vec::new();
        for way in [false, true] {
            if way {
                order.reverse();
            }
            // The neighbour by another thread that reaches furthest, and one by another thread than that.
            let mut furthest: [Option<usize>; 2] = [None; 2];
            for at in &order {
                let Some(done) = self.done.get(*at) else {
                    continue;
                };
                let others = furthest
                    .iter()
                    .flatten()
                    .filter_map(|other| self.done.get(*other));
                let meets = others
                    .filter(|other| other.process == done.process && other.thread != done.thread);
                if done.appends
                    && meets
                        .into_iter()
                        .any(|other| other.begin <= done.end && done.begin <= other.end)
                {
                    doubtful.push(*at);
                }
                self.reaches(&mut furthest, *at, way);
            }
        }
        for at in doubtful {
            if let Some(done) = self.done.get_mut(at) {
                done.range = None;
                done.sums = 0..0;
            }
        }
    }

    fn reaches(&self, furthest: &mut [Option<usize>; 2], at: usize, backwards: bool) {
        let reach = |at: &Option<usize>| {
            let done = at.and_then(|at| self.done.get(at));
            done.map_or((0, 0), |done| match backwards {
                true => (!done.begin, done.thread),
                false => (done.end, done.thread),
            })
        };
        let of = |at: &Option<usize>| {
            at.and_then(|at| self.done.get(at))
                .map(|done| (done.process, done.thread))
        };
        let own = Some(at);
        let [first, second] = furthest;
        if of(first).map(|(process, _)| process) != of(&own).map(|(process, _)| process) {
            (*first, *second) = (own, None);
        } else if of(first) == of(&own) {
            if reach(&own) > reach(first) {
                *first = own;
            }
        } else if reach(&own) > reach(first) {
            (*second, *first) = (*first, own);
        } else if reach(&own) > reach(second) {
            *second = own;
        }
    }
}
