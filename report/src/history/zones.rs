//! Whether the reads and writes of one block can be put in an order that explains what was read: a register that is
//! linearizable.
//!
//! All operations on one value are a cluster: its write and its reads. From the first end of one of them to the last
//! beginning the value must have been there (a forward zone); if all of them overlap, at some moment in between (a
//! backward zone). There is an order if no two forward zones overlap and no backward zone lies within a forward one, and if
//! nobody read a value before its write began (Gibbons and Korach, "Testing shared memories", 1997). That takes a sort.
//!
//! It holds where each value was written once. Of one that was written more often it isn't known which write a read saw:
//! such a value accuses only if each of its writes was over, and followed by another, before the read began.

use std::collections::BTreeMap;

use crate::history::first::settle_first;

/// Nobody knows when it ended: its process was killed.
pub const NEVER: u64 = u64::MAX;

/// One operation on one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Op {
    pub begin: u64,
    pub end: u64,
    pub write: bool,
    pub sum: u32,
    /// Whose it is, for who asks.
    pub id: u32,
}

impl Op {
    pub(super) fn is_before(&self, other: &Op) -> bool {
        self.end < other.begin
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Old bytes were read after newer ones had been written.
    Stale,
    /// Two values were each there after the other one.
    Back,
    /// Bytes were read that nobody wrote, and they weren't there at the beginning.
    Unwritten,
    /// The same, while a call wrote there.
    Torn,
    /// Bytes were read before anybody had begun to write them.
    Early,
}

/// What no order explains, with the operations that show it, by their beginning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub kind: Kind,
    pub ops: Vec<Op>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Judged {
    pub found: Vec<Found>,
    /// Reads of bytes that nobody wrote, while a call wrote there.
    pub torn: u64,
    /// It could be explained by what was there at the beginning, or by a value that was written twice.
    pub is_ambiguous: bool,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Whole calls only: a read that shows a part of one is an anomaly.
    pub atomic: bool,
}

/// Stands for whoever wrote what was there at the beginning.
const AT_FIRST: Op = Op {
    begin: 0,
    end: 0,
    write: true,
    sum: 0,
    id: u32::MAX,
};

/// All operations on one value.
#[derive(Default)]
pub(super) struct Cluster {
    pub writes: Vec<Op>,
    pub reads: Vec<Op>,
    /// It was there at the beginning, or may have been.
    pub was_first: bool,
}

pub(super) type Clusters = BTreeMap<u32, Cluster>;

/// Judges what was done to one block while nobody did to it what isn't known. In any order.
pub fn judge(ops: &[Op], rules: Rules) -> Judged {
    let mut clusters = Clusters::new();
    for op in ops {
        let cluster = clusters.entry(op.sum).or_default();
        match op.write {
            true => cluster.writes.push(*op),
            false => cluster.reads.push(*op),
        }
    }
    let mut judged = Judged::default();
    let known = settle_first(&mut clusters, ops, rules, &mut judged);
    let writes: Vec<Op> = ops.iter().copied().filter(|op| op.write).collect();
    let mut found = explain(&clusters, &writes);
    if let Some(first) = &found
        && !known
    {
        // What was there at the beginning may have been what was written later: the block accuses if that explains
        // nothing either.
        let mut values: Vec<u32> = first.ops.iter().map(|op| op.sum).collect();
        values.sort_unstable();
        values.dedup();
        // It can't be where all who read it came when a write was over.
        let began = writes.iter().filter(|op| op.begin > 0);
        let over = began.map(|op| op.end).min().unwrap_or(NEVER);
        let may_be = |value: &u32| {
            let reads = clusters.get(value).map(|cluster| &cluster.reads);
            reads.into_iter().flatten().any(|read| read.begin <= over)
        };
        values.retain(may_be);
        let explained = values.into_iter().any(|value| {
            set_first(&mut clusters, value, true);
            let left = explain(&clusters, &writes);
            set_first(&mut clusters, value, false);
            left.is_none()
        });
        if explained {
            judged.is_ambiguous = true;
            found = None;
        }
    }
    judged.found.extend(found);
    judged
}

pub(super) fn set_first(clusters: &mut Clusters, value: u32, is: bool) {
    if let Some(cluster) = clusters.get_mut(&value) {
        cluster.was_first = is;
    }
}

pub(super) fn in_order(mut ops: Vec<Op>) -> Vec<Op> {
    ops.sort_by_key(|op| (op.begin, op.end));
    ops.dedup();
    ops
}

/// What can't be explained, if anything; the shortest story that is found.
fn explain(clusters: &Clusters, writes: &[Op]) -> Option<Found> {
    stale(clusters, writes).or_else(|| zones(clusters))
}

/// Three operations: a write, a later one, and then a read of the first.
fn stale(clusters: &Clusters, writes: &[Op]) -> Option<Found> {
    let later = Later::of(writes);
    let mut best: Option<(Op, Option<Op>, Op)> = None;
    for (value, cluster) in clusters {
        let mut candidates: Vec<(Option<Op>, u64)> =
            cluster.writes.iter().map(|w| (Some(*w), w.end)).collect();
        if cluster.was_first {
            candidates.push((None, 0));
        }
        // Of one value that is written again and again it isn't asked by whom: that would take for ever.
        const MOST: usize = 4096;
        if candidates.is_empty() || candidates.len() > MOST {
            continue;
        }
        let over: Vec<_> = candidates
            .iter()
            .map(|(write, end)| (write, later.first_end(*end, *value)))
            .collect();
        for read in &cluster.reads {
            let sees = |(write, over): &(&Option<Op>, Option<Op>)| {
                write.is_none_or(|write| write.begin <= read.end)
                    && over.is_none_or(|over| over.end >= read.begin)
            };
            if over.iter().any(sees) {
                continue;
            }
            let began = over
                .iter()
                .filter(|(write, _)| write.is_none_or(|w| w.begin <= read.end));
            let Some((write, Some(over))) = began.max_by_key(|(write, _)| write.map(|w| w.end))
            else {
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|(_, _, there)| read.begin < there.begin)
            {
                best = Some((*over, **write, *read));
            }
        }
    }
    let (over, write, read) = best?;
    let ops = write.into_iter().chain([over, read]).collect();
    Some(Found {
        kind: Kind::Stale,
        ops: in_order(ops),
    })
}

/// For a moment: which write that begins after it is over first.
struct Later {
    /// By their beginnings: the first to end among this one and those after it, and the first of another value.
    sorted: Vec<Op>,
    first: Vec<(Op, Option<Op>)>,
}

impl Later {
    fn of(writes: &[Op]) -> Later {
        let mut sorted = writes.to_vec();
        sorted.sort_by_key(|op| op.begin);
        let mut first: Vec<(Op, Option<Op>)> = Vec::with_capacity(sorted.len());
        for op in sorted.iter().rev() {
            let next = match first.last().copied() {
                None => (*op, None),
                Some((best, other)) if op.end < best.end => (
                    *op,
                    if best.sum == op.sum {
                        other
                    } else {
                        Some(best)
                    },
                ),
                Some((best, other)) => {
                    let replaces =
                        best.sum != op.sum && other.is_none_or(|other| op.end < other.end);
                    (best, if replaces { Some(*op) } else { other })
                }
            };
            first.push(next);
        }
        first.reverse();
        Later { sorted, first }
    }

    /// Of those with another value.
    fn first_end(&self, after: u64, value: u32) -> Option<Op> {
        let at = self.sorted.partition_point(|op| op.begin <= after);
        let (best, other) = *self.first.get(at)?;
        let found = if best.sum != value { Some(best) } else { other };
        found.filter(|op| op.end != NEVER)
    }
}

/// Where a value was there: who ended first and who began last.
#[derive(Clone, Copy)]
struct Zone {
    ended: Op,
    began: Op,
}

impl Zone {
    fn of(cluster: &Cluster) -> Option<Zone> {
        let all = || cluster.writes.iter().chain(&cluster.reads);
        let ended = match cluster.was_first {
            true => &AT_FIRST,
            false => all().min_by_key(|op| op.end)?,
        };
        let began = all().max_by_key(|op| op.begin)?;
        Some(Zone {
            ended: *ended,
            began: *began,
        })
    }

    fn is_forward(&self) -> bool {
        self.ended.end < self.began.begin
    }

    fn story(&self, other: &Zone) -> Found {
        let kind = Kind::Back;
        let mut ops = vec![self.ended, self.began, other.ended, other.began];
        ops.retain(|op| *op != AT_FIRST);
        Found {
            kind,
            ops: in_order(ops),
        }
    }
}

fn zones(clusters: &Clusters) -> Option<Found> {
    // One write each, which for one value was before the beginning. One that is never over and that nobody read need not
    // have been made.
    let counts = |cluster: &&Cluster| match cluster.writes.as_slice() {
        [] => cluster.was_first,
        [write] => !cluster.was_first && (write.end != NEVER || !cluster.reads.is_empty()),
        _ => false,
    };
    let all = clusters.values().filter(counts).filter_map(Zone::of);
    type Zones = Vec<Zone>;
    let (mut forward, backward): (Zones, Zones) = all.partition(Zone::is_forward);
    forward.sort_by_key(|zone| zone.ended.end);
    for pair in forward.windows(2) {
        if let [one, next] = pair
            && next.ended.end < one.began.begin
        {
            return Some(one.story(next));
        }
    }
    backward.iter().find_map(|zone| {
        let at = forward.partition_point(|one| one.ended.end < zone.began.begin);
        let around = forward.get(at.checked_sub(1)?)?;
        (zone.ended.end < around.began.begin).then(|| around.story(zone))
    })
}
