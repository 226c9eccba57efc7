//! What bytes a call moved, as sums of blocks: recorded beside the call itself where that is asked for, and looked at by
//! who asks whether reads saw what was written.
//!
//! Such a record has the time at which its call began, which leads to the call's own. One of a call that changes the file
//! is there before the call is made: a process that is killed in it leaves what it may have written.

use crate::call::{Mode, What};

/// Blocks of the file, whoever uses it in what units: no direct request is in smaller ones.
pub const BLOCK: u64 = 512;
/// How many sums a record has room for.
pub const SUMS: usize = 10;

/// A part of what one call moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contents {
    pub what: What,
    pub mode: Mode,
    /// It goes to where the file ends.
    pub appends: bool,
    /// It tells the file from others that had its inode number before; 0: not known.
    pub birth: u32,
    /// The first block that is summed here.
    pub block: u64,
    count: u8,
    sums: [u32; SUMS],
}

const APPENDS: u64 = 1 << 16;

impl Contents {
    /// Of a call of which nothing is summed yet.
    pub fn of(what: What, mode: Mode, birth: u32) -> Contents {
        Contents {
            what,
            mode,
            appends: false,
            birth,
            block: 0,
            count: 0,
            sums: [0; SUMS],
        }
    }

    /// From that block on; only as many as there is room for.
    pub fn put(&mut self, block: u64, bytes: &[u8]) {
        self.block = block;
        self.count = 0;
        let blocks = bytes.chunks_exact(BLOCK as usize);
        for (place, block) in self.sums.iter_mut().zip(blocks) {
            *place = sum_of(block);
            self.count = self.count.saturating_add(1);
        }
    }

    pub fn sums(&self) -> &[u32] {
        self.sums.get(..usize::from(self.count)).unwrap_or(&[])
    }

    #[inline(always)]
    pub(crate) const fn words(&self) -> [u64; 7] {
        let [a, b, c, d, e, f, g, h, i, j] = self.sums;
        [
            self.what as u64
                | (self.mode as u64) << 8
                | if self.appends { APPENDS } else { 0 }
                | (self.count as u64) << 24
                | (self.birth as u64) << 32,
            self.block,
            two(a, b),
            two(c, d),
            two(e, f),
            two(g, h),
            two(i, j),
        ]
    }

    /// None: none has these words.
    pub(crate) fn from_words(words: [u64; 7]) -> Option<Contents> {
        let [code, block, rest @ ..] = words;
        let mut sums = [0; SUMS];
        let halves = rest
            .iter()
            .flat_map(|word| [*word as u32, (*word >> 32) as u32]);
        sums.iter_mut()
            .zip(halves)
            .for_each(|(to, from)| *to = from);
        let count = (code >> 24) as u8;
        Some(Contents {
            what: What::from_code(code)?,
            mode: Mode::from_code(code >> 8)?,
            appends: code & APPENDS != 0,
            birth: (code >> 32) as u32,
            block,
            count: (usize::from(count) <= SUMS).then_some(count)?,
            sums,
        })
    }
}

const fn two(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Blocks of other contents have others, but for one pair in 2^32: who takes two contents for one accuses nobody by it.
fn sum_of(block: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, word: u64| (sum.rotate_left(29) ^ word).wrapping_mul(FACTOR);
    let words = block
        .chunks_exact(8)
        .filter_map(|c| c.try_into().ok())
        .map(u64::from_le_bytes);
    let mut lanes = [FACTOR; 4];
    for (at, word) in words.enumerate() {
        if let Some(lane) = lanes.get_mut(at & 3) {
            *lane = mix(*lane, word);
        }
    }
    let all = lanes.into_iter().fold(FACTOR, mix);
    (all ^ all >> 32) as u32
}

/// The blocks that a range of bytes covers whole: the first, and how many.
pub fn whole_blocks(first: u64, len: u64) -> (u64, u64) {
    let from = first.div_ceil(BLOCK);
    let end = first.saturating_add(len).checked_div(BLOCK).unwrap_or(0);
    (from, end.saturating_sub(from))
}
