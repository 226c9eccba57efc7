//! Whether a run was coherent: what reads saw, against what was written.
//!
//! Where the policy says `trace = "contents"`, calls are recorded with sums of the blocks that they moved. `collect` puts
//! these together to what was done to each `file`; `blocks` follows each block through the time in which all that was done
//! to it is known; `zones` says whether that can be put in an order that explains what was read, `whole` whether calls
//! were seen whole, `appends` whether what was appended stayed, `story` how that came, and `checked` holds the answer. Where something isn't known, nothing is
//! accused: what is missing is said instead.

mod appends;
mod blocks;
mod checked;
mod collect;
mod file;
mod first;
mod story;
#[cfg(test)]
mod tests;
mod whole;
mod zones;

use std::collections::BTreeMap;

use policy::Escaped;
use trace::Lost;

pub use checked::{Anomaly, Checked, LeftOut, OneFile, Step};
pub use zones::Rules;

use crate::event::Event;
use crate::folder::OneRing;
use collect::{Collected, Key};
use file::{History, Unknown, Why};
use story::Stories;
use zones::NEVER;

/// A check in the making: ring by ring, in whatever order.
pub struct Check {
    collected: Collected,
    rules: Rules,
    /// Before that something was overwritten.
    known_from: u64,
}

impl Check {
    pub fn new(rules: Rules) -> Check {
        Check {
            collected: Collected::new(),
            rules,
            known_from: 0,
        }
    }

    pub fn begins(&mut self, ring: &OneRing) {
        self.collected.begins(ring.program());
    }

    pub fn add(&mut self, event: &Event) {
        self.collected.add(event);
    }

    /// A ring is read to its end, and misses that.
    pub fn ends(&mut self, lost: &Lost) {
        if lost.overwritten > 0 {
            self.known_from = self.known_from.max(self.collected.known_from());
        }
    }

    /// `whole`: each ring could be read.
    pub fn checked(mut self, lost: &Lost, whole: bool) -> Checked {
        self.collected.finish();
        let mut limits = self.limits(lost, whole);
        // Writes of which nobody knows when and where they were: no read can be held against anybody.
        let blind = lost.dropped > 0 || lost.cut_off > 0 || !whole || self.collected.left_out > 0;
        let mut files: Vec<OneFile> = match blind {
            true => Vec::new(),
            false => self.files(),
        };
        files.sort_by_key(|file| file.anomalies.is_empty());
        let anomalies = files
            .iter()
            .flat_map(|file| &file.anomalies)
            .map(|one| one.count)
            .sum();
        let reads: u64 = files.iter().map(|file| file.reads).sum();
        let mapped: u64 = files.iter().map(|file| file.left_out.mappings).sum();
        if mapped > 0 {
            limits.push(format!("{mapped} blocks were mapped to be stored to: what they held from then on isn't known"));
        }
        if self.astray() > 0 {
            limits.push(format!(
                "{} appends went to a place that isn't known",
                self.astray()
            ));
        }
        if limits.is_empty() && reads == 0 && !files.iter().any(|file| file.writes > 0) {
            limits.push(
                "no contents were recorded: run it with --trace FOLDER --contents".to_owned(),
            );
        }
        let verdict = match (anomalies, limits.is_empty()) {
            (0, true) => "coherent",
            (0, false) => "unknown",
            _ => "anomalies",
        };
        Checked {
            verdict,
            says: says(verdict, &files),
            anomalies,
            limits,
            files,
        }
    }

    /// Appends of which nobody says where they went.
    fn astray(&self) -> usize {
        let all = self
            .collected
            .files
            .values()
            .flat_map(|history| &history.done);
        all.filter(|done| done.appends && done.range.is_none() && done.end != NEVER)
            .count()
    }

    fn limits(&self, lost: &Lost, whole: bool) -> Vec<String> {
        let collected = &self.collected;
        let mut limits = Vec::new();
        let mut put = |is: bool, what: String| limits.extend(is.then_some(what));
        put(!whole, "a ring could not be read".to_owned());
        let gone = lost.dropped.saturating_add(lost.cut_off);
        put(
            gone > 0,
            format!("{gone} records are missing, and nobody knows which"),
        );
        put(
            lost.overwritten > 0,
            format!(
                "{} records were overwritten by later ones: only what came after them was looked at",
                lost.overwritten
            ),
        );
        put(
            collected.left_out > 0,
            format!(
                "{} records are more than there is room for in memory",
                collected.left_out
            ),
        );
        put(
            collected.unseen > 0,
            format!(
                "{} things were not covered (`pagefence report` says which): who used files so isn't known",
                collected.unseen
            ),
        );
        limits
    }

    fn files(&self) -> Vec<OneFile> {
        let known_from = (self.known_from > 0).then(|| Unknown::until(self.known_from));
        let all = self.collected.files.iter();
        all.map(|(key, history)| self.one(*key, history, known_from))
            .collect()
    }

    fn one(&self, key: Key, history: &History, known_from: Option<Unknown>) -> OneFile {
        let mut unknown: Vec<Unknown> = known_from.into_iter().collect();
        history
            .done
            .iter()
            .for_each(|done| done.leaves_unknown(&mut unknown));
        let mut stories = Stories::default();
        let looked = blocks::look(history, &unknown, self.rules, &mut |block, found| {
            stories.take(block, found)
        });
        let programs = &self.collected.programs;
        let mut anomalies = stories.told(history, programs);
        let pairs = appends::overwritten(&history.done, &unknown);
        anomalies.extend(story::of_appends(&pairs, history, programs));
        let count = |why: Why| looked.unknown.get(&why).copied().unwrap_or(0);
        OneFile {
            path: Escaped(&history.path).to_string(),
            device: key.0,
            inode: key.1,
            blocks: looked.blocks,
            reads: looked.reads,
            writes: looked.writes,
            torn: looked.torn,
            ambiguous: looked.ambiguous,
            left_out: LeftOut {
                mappings: count(Why::Mapped),
                changes: count(Why::Changed),
                parts: count(Why::Part),
                lost: count(Why::Lost),
            },
            anomalies,
        }
    }
}

fn says(verdict: &str, files: &[OneFile]) -> String {
    let some = |n: usize, what: &str| match n {
        1 => format!("one {what}"),
        n => format!("{n} {what}s"),
    };
    let bad = files.iter().filter(|file| !file.anomalies.is_empty());
    match verdict {
        "coherent" => {
            let reads: u64 = files.iter().map(|file| file.reads).sum();
            let blocks = some(reads as usize, "read");
            format!(
                "coherent: {blocks} of blocks in {} saw what was written",
                some(files.len(), "file")
            )
        }
        "unknown" => {
            "can't tell: nothing is wrong in what could be looked at, which isn't all".to_owned()
        }
        _ => {
            let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
            for one in bad.clone().flat_map(|file| &file.anomalies) {
                *kinds.entry(one.kind).or_default() += one.count;
            }
            let kinds: Vec<String> = kinds
                .iter()
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect();
            format!(
                "NOT COHERENT: anomalies in {}: {}",
                some(bad.count(), "file"),
                kinds.join(", ")
            )
        }
    }
}
