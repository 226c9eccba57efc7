//! The shortest story of each kind of anomaly in a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::Escaped;
use trace::BLOCK;

use crate::history::checked::{Anomaly, Step};
use crate::history::collect::SLACK;
use crate::history::file::{Done, History};
use crate::history::zones::{Found, Kind, NEVER, Op};

/// Kind, how many, the shortest story so far and its bytes.
#[derive(Default)]
pub struct Stories(BTreeMap<Kind, Story>);

struct Story {
    count: u64,
    bytes: (u64, u64),
    ops: Vec<Op>,
}

impl Stories {
    pub fn take(&mut self, block: u64, found: Found) {
        let first = block.saturating_mul(BLOCK);
        let bytes = (first, first.saturating_add(BLOCK - 1));
        let shorter = |one: &[Op], other: &[Op]| {
            let key = |ops: &[Op]| (ops.len(), ops.last().map(|op| op.begin));
            key(one) < key(other)
        };
        match self.0.get_mut(&found.kind) {
            Some(story) => {
                story.count += 1;
                if shorter(&found.ops, &story.ops) {
                    (story.bytes, story.ops) = (bytes, found.ops);
                }
            }
            None => {
                let (count, ops) = (1, found.ops);
                self.0.insert(found.kind, Story { count, bytes, ops });
            }
        }
    }

    pub fn told(self, history: &History, programs: &[Arc<[u8]>]) -> Vec<Anomaly> {
        let told = |(kind, story): (Kind, Story)| {
            let calls = story.ops.iter().filter_map(|op| {
                let done = history.done.get(op.id as usize)?;
                Some((done, Some(op.sum)))
            });
            let calls: Vec<_> = calls.collect();
            let (word, says) = words(kind);
            let all = steps(&calls, programs);
            Anomaly {
                kind: word,
                says,
                count: story.count,
                first: story.bytes.0,
                last: story.bytes.1,
                story: match kind {
                    Kind::Torn => of_parts(all),
                    _ => all,
                },
            }
        };
        self.0.into_iter().map(told).collect()
    }
}

fn words(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Stale => (
            "stale",
            "old bytes were read after newer ones had been written",
        ),
        Kind::Back => ("back", "two contents were each there after the other one"),
        Kind::Unwritten => ("unwritten", "bytes were read that no call wrote"),
        Kind::Torn => ("torn", "a read showed a part of a call under way"),
        Kind::Early => (
            "early",
            "bytes were read before anybody had begun to write them",
        ),
    }
}

/// Appends that went to the same bytes.
pub fn of_appends(
    pairs: &[(usize, usize)],
    history: &History,
    programs: &[Arc<[u8]>],
) -> Option<Anomaly> {
    let get = |at: &usize| history.done.get(*at);
    let pair = pairs
        .iter()
        .find_map(|(one, other)| get(one).zip(get(other)))?;
    let range = |done: &Done| done.range.unwrap_or_default();
    let (one, other) = (range(pair.0), range(pair.1));
    Some(Anomaly {
        kind: "append",
        says: "an append went to bytes that were written before it or by another append",
        count: pairs.len() as u64,
        first: one.0.max(other.0),
        last: one.1.min(other.1).max(one.0.max(other.0)),
        story: steps(&[(pair.0, None), (pair.1, None)], programs),
    })
}

fn steps(calls: &[(&Done, Option<u32>)], programs: &[Arc<[u8]>]) -> Vec<Step> {
    let mut letters: Vec<u32> = Vec::new();
    let began = calls.first().map_or(0, |(done, _)| told(done).0);
    let since = |moment: u64| moment.wrapping_sub(began) as i64 as f64 / 1000.0;
    let step = |(done, sum): &(&Done, Option<u32>)| {
        let (begin, end) = told(done);
        let (first, last) = done.range.unwrap_or((0, 0));
        Step {
            time: begin as f64 / 1e9,
            begin_microseconds: since(begin),
            end_microseconds: end.map(since),
            program: programs
                .get(done.who as usize)
                .map_or_else(String::new, |name| Escaped(name).to_string()),
            process: done.process,
            thread: done.thread,
            did: match (done.is_read(), done.appends) {
                (true, _) => "read",
                (false, true) => "appended",
                (false, false) => "wrote",
            },
            mode: done.mode.word(),
            first,
            last,
            bytes: sum.map_or_else(String::new, |sum| letter(&mut letters, sum)),
        }
    };
    calls.iter().map(step).collect()
}

/// A read that shows a part of each of two calls.
fn of_parts(mut story: Vec<Step>) -> Vec<Step> {
    if let [one, other, read] = story.as_mut_slice()
        && [&one.bytes, &other.bytes].contains(&&read.bytes)
    {
        read.bytes = format!("parts of {} and of {}", one.bytes, other.bytes);
    }
    story
}

/// As its process told it.
fn told(done: &Done) -> (u64, Option<u64>) {
    let end = (done.end != NEVER).then(|| done.end.saturating_sub(SLACK));
    (done.begin.saturating_add(SLACK), end)
}

fn letter(known: &mut Vec<u32>, sum: u32) -> String {
    let at = known
        .iter()
        .position(|there| *there == sum)
        .unwrap_or_else(|| {
            known.push(sum);
            known.len() - 1
        });
    char::from(b'A'.saturating_add(at as u8)).to_string()
}
