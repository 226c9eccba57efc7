//! What was in a block before the first call: nobody told it, and one value may be that.

use crate::history::zones::{
    Cluster, Clusters, Found, Judged, Kind, Op, Rules, in_order, set_first,
};

/// What was there at the beginning: one value, that somebody read and nobody had written. Whether it is known. Values that
/// can't be explained so are told and taken out.
pub fn settle_first(
    clusters: &mut Clusters,
    ops: &[Op],
    rules: Rules,
    judged: &mut Judged,
) -> bool {
    let mut first: Vec<(Op, Kind)> = Vec::new();
    let (mut torn, mut unwritten): (Vec<Found>, Vec<Found>) = (Vec::new(), Vec::new());
    let met = Met::of(ops);
    for cluster in clusters.values() {
        let Some(earliest) = cluster.reads.iter().min_by_key(|op| op.end) else {
            continue;
        };
        if cluster.writes.is_empty() {
            if let Some(found) = replaced(cluster, ops, &met) {
                unwritten.push(found);
                continue;
            }
            let quiet = cluster.reads.iter().filter(|op| !met.by(op));
            match quiet.min_by_key(|op| op.begin) {
                Some(op) => first.push((*op, Kind::Unwritten)),
                None => {
                    judged.torn += cluster.reads.len() as u64;
                    torn.extend(torn_by(cluster, ops));
                }
            }
        } else if cluster.writes.iter().all(|write| earliest.is_before(write)) {
            first.push((*earliest, Kind::Early));
        }
    }
    first.sort_by_key(|(op, _)| (op.begin, op.end, op.sum));
    if rules.atomic && first.is_empty() {
        // One of them may be what was there at the beginning, if nothing was written before it; is it, then no other.
        torn.sort_by_key(|found| found.ops.last().map(|op| op.begin));
        let read = |found: &Found| found.ops.iter().find(|op| !op.write).copied();
        let may_be =
            |found: &Found| read(found).is_some_and(|read| over_before(&read, ops).is_none());
        if let Some(at) = torn.iter().position(may_be) {
            first.extend(read(&torn.remove(at)).map(|op| (op, Kind::Torn)));
            judged.torn = judged.torn.saturating_sub(1);
        }
    }
    let known = first.first().map(|(op, _)| op.sum);
    if let Some(value) = known {
        set_first(clusters, value, true);
    }
    for (op, kind) in first.iter().skip(1) {
        judged.found.push(not_first(*op, *kind, &first, clusters));
        clusters.remove(&op.sum);
    }
    judged.found.append(&mut unwritten);
    if rules.atomic {
        judged.found.append(&mut torn);
    }
    known.is_some()
}

/// It can't have been there at the beginning as well.
fn not_first(op: Op, kind: Kind, first: &[(Op, Kind)], clusters: &Clusters) -> Found {
    let mut ops: Vec<Op> = first.iter().take(1).map(|(op, _)| *op).collect();
    let writes = clusters.get(&op.sum).map(|cluster| &cluster.writes);
    ops.extend(writes.into_iter().flatten().min_by_key(|op| op.begin));
    ops.push(op);
    Found {
        kind,
        ops: in_order(ops),
    }
}

/// Bytes of nobody, after somebody had written: what was there at the beginning wasn't there any more.
fn replaced(cluster: &Cluster, ops: &[Op], met: &Met) -> Option<Found> {
    let read = cluster.reads.iter().min_by_key(|op| op.begin)?;
    let write = over_before(read, ops)?;
    let ops = vec![*write, *read];
    let kind = Kind::Unwritten;
    (!cluster.reads.iter().all(|read| met.by(read))).then_some(Found { kind, ops })
}

/// The last write that was over then. What began before the history did may have been made before what was there at first.
fn over_before<'a>(read: &Op, ops: &'a [Op]) -> Option<&'a Op> {
    let over = ops
        .iter()
        .filter(|op| op.write && op.begin > 0 && op.is_before(read));
    over.max_by_key(|op| op.begin)
}

/// Which reads overlap with a write.
struct Met {
    /// Writes by their beginnings, with the last end of this one and those before it.
    writes: Vec<(u64, u64)>,
}

impl Met {
    fn of(ops: &[Op]) -> Met {
        let writes = ops.iter().filter(|op| op.write);
        let mut writes: Vec<_> = writes.map(|op| (op.begin, op.end)).collect();
        writes.sort_unstable();
        let mut last = 0;
        for (_, end) in &mut writes {
            last = last.max(*end);
            *end = last;
        }
        Met { writes }
    }

    fn by(&self, read: &Op) -> bool {
        let began = self.writes.partition_point(|(begin, _)| *begin <= read.end);
        let last = began.checked_sub(1).and_then(|at| self.writes.get(at));
        last.is_some_and(|(_, end)| *end >= read.begin)
    }
}

fn torn_by(cluster: &Cluster, ops: &[Op]) -> Option<Found> {
    let read = cluster.reads.iter().min_by_key(|op| op.begin)?;
    let meets = |op: &&Op| op.write && !op.is_before(read) && !read.is_before(op);
    let met = ops.iter().filter(meets).take(2).copied();
    let ops = in_order(met.chain([*read]).collect());
    Some(Found {
        kind: Kind::Torn,
        ops,
    })
}
