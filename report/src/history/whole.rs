//! Whether reads showed whole calls: one that shows a part of each of two writes, where both wrote both parts, saw neither
//! whole, whichever came first.

use std::collections::{BTreeMap, HashMap};

use crate::history::file::History;
use crate::history::zones::{Found, Kind, NEVER, Op};

/// Of more writes in one read the others aren't compared.
const MOST: usize = 16;

/// The blocks that a read showed, and whose they were.
#[derive(Default)]
struct Shown {
    read: Option<Op>,
    blocks: Vec<(u64, Op)>,
}

/// By read.
#[derive(Default)]
pub struct Shows(BTreeMap<u32, Shown>);

impl Shows {
    /// A block in which everything is known: which write each read saw, where only one can be it.
    pub fn add(&mut self, block: u64, ops: &[Op]) {
        let mut by_sum: HashMap<u32, Option<Op>> = HashMap::new();
        for op in ops.iter().filter(|op| op.write) {
            let one = Some(*op).filter(|op| op.end != NEVER);
            by_sum
                .entry(op.sum)
                .and_modify(|there| *there = None)
                .or_insert(one);
        }
        for read in ops.iter().filter(|op| !op.write) {
            if let Some(Some(write)) = by_sum.get(&read.sum) {
                let shown = self.0.entry(read.id).or_default();
                shown.read = Some(*read);
                shown.blocks.push((block, *write));
            }
        }
    }

    pub fn torn(self, history: &History, found: &mut dyn FnMut(u64, Found)) {
        for shown in self.0.into_values() {
            if let (Some(read), Some((block, one, other))) = (shown.read, shown.parts(history)) {
                let mut ops = vec![one, other];
                ops.sort_by_key(|op| (op.begin, op.end));
                let sum = shown.sum_at(block).unwrap_or(read.sum);
                ops.push(Op { sum, ..read });
                let kind = Kind::Torn;
                found(block, Found { kind, ops });
            }
        }
    }
}

impl Shown {
    /// A block of the second, which the first wrote, too; and the other way round.
    fn parts(&self, history: &History) -> Option<(u64, Op, Op)> {
        let mut writes: Vec<Op> = Vec::new();
        for (_, write) in &self.blocks {
            if !writes.iter().any(|there| there.id == write.id) && writes.len() < MOST {
                writes.push(*write);
            }
        }
        let wrote = |write: &Op, block: u64| {
            let done = history.done.get(write.id as usize);
            done.map(|done| done.summed())
                .is_some_and(|(from, behind)| (from..behind).contains(&block))
        };
        let shows = |of: &Op, also: &Op| {
            let mut all = self.blocks.iter();
            all.find(|(block, write)| write.id == of.id && wrote(also, *block))
        };
        writes.iter().enumerate().find_map(|(at, one)| {
            writes.iter().skip(at + 1).find_map(|other| {
                shows(one, other)?;
                let (block, of_other) = shows(other, one)?;
                Some((*block, *one, *of_other))
            })
        })
    }

    fn sum_at(&self, block: u64) -> Option<u32> {
        let mut all = self.blocks.iter();
        all.find(|(there, _)| *there == block)
            .map(|(_, write)| write.sum)
    }
}
