//! The blocks of a file, each with its own history: pieces of time in which all that was done to it is known, and what lies
//! in between.

use std::collections::BTreeMap;

use crate::history::file::{History, Unknown, Why};
use crate::history::whole::Shows;
use crate::history::zones::{Found, Judged, NEVER, Op, Rules, judge};

/// So many blocks are looked at together.
const WINDOW: u64 = 8192;
/// A call that is longer is looked for in every window.
const LONG: u64 = 2 * WINDOW;

/// What came of it, block by block.
#[derive(Default)]
pub struct Looked {
    /// Blocks that were read or written, and how often.
    pub blocks: u64,
    pub reads: u64,
    pub writes: u64,
    pub torn: u64,
    pub ambiguous: u64,
    /// Blocks that weren't known all the time, by why.
    pub unknown: BTreeMap<Why, u64>,
}

/// Each block's history is judged; `found` gets the block and what can't be explained.
pub fn look(
    history: &History,
    unknown: &[Unknown],
    rules: Rules,
    found: &mut dyn FnMut(u64, Found),
) -> Looked {
    let mut looked = Looked::default();
    let done = Spans::of(history.done.iter().map(|done| {
        let (from, behind) = done.summed();
        (from, behind.saturating_sub(1), from < behind)
    }));
    let gaps = Spans::of(unknown.iter().map(|gap| (gap.blocks.0, gap.blocks.1, true)));
    for window in done.windows() {
        let mut blocks: BTreeMap<u64, (Vec<Op>, Vec<Unknown>)> = BTreeMap::new();
        for at in done.within(window) {
            let Some(call) = history.done.get(at) else {
                continue;
            };
            let sums = history.sums.get(call.sums.clone()).unwrap_or(&[]);
            for (block, sum) in (call.block..).zip(sums) {
                if block / WINDOW == window {
                    blocks.entry(block).or_default().0.push(Op {
                        begin: call.begin,
                        end: call.end,
                        write: !call.is_read(),
                        sum: *sum,
                        id: at as u32,
                    });
                }
            }
        }
        for gap in gaps.within(window).filter_map(|at| unknown.get(at)) {
            for (_, (_, gaps)) in blocks.range_mut(gap.blocks.0..=gap.blocks.1) {
                gaps.push(*gap);
            }
        }
        let mut shows = Shows::default();
        for (block, (ops, gaps)) in &mut blocks {
            if rules.atomic && gaps.is_empty() {
                shows.add(*block, ops);
            }
            looked.blocks += 1;
            looked.reads += ops.iter().filter(|op| !op.write).count() as u64;
            looked.writes += ops.iter().filter(|op| op.write).count() as u64;
            for why in [Why::Mapped, Why::Changed, Why::Part, Why::Lost] {
                let counts = gaps.iter().any(|gap| gap.why == why);
                *looked.unknown.entry(why).or_default() += u64::from(counts);
            }
            for judged in pieces(ops, gaps).iter().map(|piece| judge(piece, rules)) {
                looked.take(judged, *block, found);
            }
        }
        shows.torn(history, found);
    }
    looked
}

impl Looked {
    fn take(&mut self, judged: Judged, block: u64, found: &mut dyn FnMut(u64, Found)) {
        self.torn += judged.torn;
        self.ambiguous += u64::from(judged.is_ambiguous);
        judged.found.into_iter().for_each(|one| found(block, one));
    }
}

/// The histories between what isn't known. A write that reaches into one may have been made in it, or before, or after; a
/// read that does tells nothing.
pub fn pieces(ops: &[Op], gaps: &mut [Unknown]) -> Vec<Vec<Op>> {
    let (mut writes, mut reads): (Vec<Op>, Vec<Op>) = ops.iter().partition(|op| op.write);
    writes.sort_by_key(|op| op.begin);
    reads.sort_by_key(|op| op.begin);
    let mut last = 0;
    let ends: Vec<u64> = writes
        .iter()
        .map(|op| {
            last = last.max(op.end);
            last
        })
        .collect();
    let piece = |(from, to): (u64, u64)| -> Vec<Op> {
        let begin = reads.partition_point(|op| op.begin <= from);
        let all = reads.get(begin..).unwrap_or(&[]).iter();
        let mut piece: Vec<Op> = all
            .take_while(|op| op.begin < to)
            .filter(|op| op.end < to)
            .copied()
            .collect();
        if piece.is_empty() {
            return piece;
        }
        let begin = ends.partition_point(|end| *end < from);
        let all = writes.get(begin..).unwrap_or(&[]).iter();
        let inside = all
            .take_while(|op| op.begin < to)
            .filter(|op| op.end >= from);
        piece.extend(inside.map(|op| Op {
            begin: if op.begin <= from { 0 } else { op.begin },
            end: if op.end >= to { NEVER } else { op.end },
            ..*op
        }));
        piece
    };
    let all = between(gaps).into_iter().map(piece);
    all.filter(|piece| !piece.is_empty()).collect()
}

/// The times in which there is no gap.
fn between(gaps: &mut [Unknown]) -> Vec<(u64, u64)> {
    gaps.sort_by_key(|gap| gap.begin);
    let mut all: Vec<(u64, u64)> = Vec::new();
    let mut from = 0;
    for gap in gaps.iter() {
        if gap.begin > from {
            all.push((from, gap.begin));
        }
        from = from.max(gap.end);
    }
    if from < NEVER {
        all.push((from, NEVER));
    }
    all
}

/// Which spans of blocks reach into a window.
struct Spans {
    /// By their first block.
    short: Vec<(u64, u64, usize)>,
    long: Vec<(u64, u64, usize)>,
}

impl Spans {
    fn of(all: impl Iterator<Item = (u64, u64, bool)>) -> Spans {
        let all = all.enumerate().filter(|(_, (.., is))| *is);
        let all = all.map(|(at, (first, last, _))| (first, last, at));
        let (mut short, long): (Vec<_>, Vec<_>) =
            all.partition(|(first, last, _)| last - first < LONG);
        short.sort_unstable();
        Spans { short, long }
    }

    /// In which there is something. (No call that is summed is long.)
    fn windows(&self) -> Vec<u64> {
        let reach = |(first, last, _): &(u64, u64, usize)| first / WINDOW..=last / WINDOW;
        let mut all: Vec<u64> = self.short.iter().flat_map(reach).collect();
        all.dedup();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn within(&self, window: u64) -> impl Iterator<Item = usize> {
        let (from, to) = (
            window.saturating_mul(WINDOW),
            window.saturating_mul(WINDOW).saturating_add(WINDOW - 1),
        );
        let begin = self
            .short
            .partition_point(|(first, ..)| *first < from.saturating_sub(LONG));
        let short = self
            .short
            .get(begin..)
            .unwrap_or(&[])
            .iter()
            .take_while(move |(first, ..)| *first <= to);
        let all = short.chain(&self.long);
        all.filter(move |(first, last, _)| *first <= to && *last >= from)
            .map(|(.., at)| *at)
    }
}
