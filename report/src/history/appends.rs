//! Appends that overwrite each other: what goes to where the file ends begins behind all that was written before, and no two
//! of them go to the same bytes.

use trace::What;

use crate::history::file::{Done, Unknown, Why};
use crate::history::zones::NEVER;

/// Two calls on the same bytes, the second of which was to append: indices.
pub type Pair = (usize, usize);

/// By beginning; what is unknown of the file for other reasons, too.
pub fn overwritten(done: &[Done], unknown: &[Unknown]) -> Vec<Pair> {
    let changes = Changes::of(unknown);
    let sure = |done: &Done| done.what == What::Write && done.range.is_some() && done.end != NEVER;
    let writes: Vec<usize> = (0..done.len())
        .filter(|at| done.get(*at).is_some_and(sure))
        .collect();
    let mut pairs = behind(done, &writes, &changes);
    pairs.extend(at_once(done, &writes, &changes));
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// Where the file may have become shorter: beginnings, with the last end of this one and those before it.
struct Changes(Vec<(u64, u64)>);

impl Changes {
    fn of(unknown: &[Unknown]) -> Changes {
        let all = unknown
            .iter()
            .filter(|one| matches!(one.why, Why::Changed | Why::Lost));
        let mut all: Vec<_> = all.map(|one| (one.begin, one.end)).collect();
        all.sort_unstable();
        let mut last = 0;
        for (_, end) in &mut all {
            last = last.max(*end);
            *end = last;
        }
        Changes(all)
    }

    /// The last end of those that began before.
    fn before(&self, moment: u64) -> u64 {
        let at = self.0.partition_point(|(begin, _)| *begin <= moment);
        at.checked_sub(1)
            .and_then(|at| self.0.get(at))
            .map_or(0, |(_, end)| *end)
    }
}

/// An append that began when another write had ended, and went before its end.
fn behind(done: &[Done], writes: &[usize], changes: &Changes) -> Vec<Pair> {
    let get = |at: usize| done.get(at);
    let mut by_end: Vec<usize> = writes.to_vec();
    by_end.sort_by_key(|at| get(*at).map(|d| d.end));
    let (mut pairs, mut over, mut furthest, mut since) = (Vec::new(), 0, None::<usize>, 0);
    let last = |at: usize| get(at).and_then(|d| d.range).map_or(0, |range| range.1);
    for at in writes {
        let Some(append) = get(*at).filter(|d| d.appends) else {
            continue;
        };
        let counts_from = changes.before(append.end);
        if counts_from > since {
            (since, over, furthest) = (counts_from, 0, None);
        }
        while let Some(other) = by_end.get(over)
            && let Some(before) = get(*other)
            && before.end < append.begin
        {
            over += 1;
            if before.begin > since && furthest.is_none_or(|there| last(*other) > last(there)) {
                furthest = Some(*other);
            }
        }
        if let (Some(other), Some((first, _))) = (furthest, append.range)
            && last(other) >= first
        {
            pairs.push((other, *at));
        }
    }
    pairs
}

/// Two appends of different processes that went to the same bytes. (Threads that share a file offset move it for each other,
/// and where an append went is told by that.)
fn at_once(done: &[Done], writes: &[usize], changes: &Changes) -> Vec<Pair> {
    let range = |at: &usize| done.get(*at).and_then(|d| d.range).unwrap_or_default();
    let appends = writes
        .iter()
        .filter(|at| done.get(**at).is_some_and(|d| d.appends));
    let mut appends: Vec<usize> = appends.copied().collect();
    appends.sort_by_key(range);
    let mut pairs = Vec::new();
    let mut widest: Option<usize> = None;
    for at in appends {
        if let Some(other) = widest
            && range(&other).1 >= range(&at).0
            && let (Some(one), Some(next)) = (done.get(other), done.get(at))
            && one.process != next.process
            && changes.before(one.end.max(next.end)) < one.begin.min(next.begin)
        {
            pairs.push((other.min(at), other.max(at)));
        }
        if widest.is_none_or(|there| range(&at).1 >= range(&there).1) {
            widest = Some(at);
        }
    }
    pairs
}
