//! What a trace tells while it is written: how often what has happened, in all and by file.

use kernel::errors;
use std::collections::BTreeMap;
use std::path::Path;

use report::Folder;
use serde::Serialize;

use crate::failure::Failure;
use crate::say::Shown;

/// How many files are told apart; the rest counts in all only.
const FILES: usize = 100_000;

pub struct Events {
    folder: Folder,
    counts: Counts,
}

#[derive(Clone, Default, Serialize)]
pub struct Counts {
    pub all: BTreeMap<&'static str, u64>,
    /// By device and inode.
    #[serde(skip)]
    pub files: BTreeMap<(u64, u64), BTreeMap<&'static str, u64>>,
    /// Events that were overwritten, torn or had no room.
    pub missing: u64,
    /// Rings that could not be read.
    pub unread: u64,
}

impl Events {
    pub fn open(path: &Path) -> Result<Events, Failure> {
        let folder = Folder::open(path)
            .map_err(|error| Failure::of(&errors::NO_TRACE, &[&path.shown(), &error]))?;
        Ok(Events {
            folder,
            counts: Counts::default(),
        })
    }

    /// From its beginning until now.
    pub fn read(&mut self) -> &Counts {
        for event in self.folder.read(false) {
            let record = &event.told.record;
            let word = record.kind.word();
            *self.counts.all.entry(word).or_default() += 1;
            if let Some(file) = record.file
                && (self.counts.files.len() < FILES || self.counts.files.contains_key(&file))
            {
                let of_file = self.counts.files.entry(file).or_default();
                *of_file.entry(word).or_default() += 1;
            }
        }
        let lost = self.folder.lost();
        self.counts.missing = lost.overwritten + lost.torn + lost.dropped + lost.cut_off;
        self.counts.unread += self.folder.take_problems().len() as u64;
        &self.counts
    }
}

impl Counts {
    pub fn of_file(&self, file: (u64, u64), word: &str) -> u64 {
        let of_file = self.files.get(&file);
        of_file
            .and_then(|counts| counts.get(word))
            .copied()
            .unwrap_or(0)
    }
}
