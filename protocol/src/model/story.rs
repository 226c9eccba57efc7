//! What must be true of every story: the guarantees of the design, judged by what reads return and what is left.
//!
//! For each cell it is known which calls wrote it, which of these have returned, and what reads have returned. Of two
//! writes that overlap in time either may be the later one, until a read has told. A value is *past* when a write that
//! began after it was there has returned, or a read has returned something newer. A read that begins then must not
//! return it, and it mustn't be what is left at the end.

use super::linux::{CELLS, Tag};

/// A set of tags.
type Tags = u8;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Broken {
    /// G1: a read returned what was past.
    Fresh,
    /// G2: what a write wrote is gone.
    Lost,
    /// G3: bytes from before a layout call came back, or direct I/O met blocks that were free.
    Layout,
    /// G7: pages could not be dropped, the call succeeded, and nobody was told.
    Silent,
}

#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Story {
    past: [Tags; CELLS],
    /// Writes that have returned.
    done: [Tags; CELLS],
    /// What reads have returned.
    seen: [Tags; CELLS],
    /// Which tags are layout calls'.
    layout: Tags,
    pub broken: Option<Broken>,
}

/// What was so when a call began.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Before {
    past: [Tags; CELLS],
    /// What had been written, or been read.
    there: [Tags; CELLS],
    seen: [Tags; CELLS],
}

fn bit(tag: Tag) -> Tags {
    1 << tag
}

impl Story {
    pub fn begins(&self) -> Before {
        let mut before = Before {
            past: self.past,
            seen: self.seen,
            ..Before::default()
        };
        for (to, (done, seen)) in before.there.iter_mut().zip(self.done.iter().zip(self.seen)) {
            *to = done | seen | bit(0);
        }
        before
    }

    pub fn breaks(&mut self, how: Broken) {
        self.broken = self.broken.or(Some(how));
    }

    fn breaks_at(&mut self, cell: usize, how: Broken) {
        let cut = self.done[cell] & self.layout != 0;
        self.breaks(if cut { Broken::Layout } else { how });
    }

    pub fn wrote(&mut self, first: usize, last: usize, tag: Tag, layout: bool, before: &Before) {
        if layout {
            self.layout |= bit(tag);
        }
        for cell in first..=last {
            self.past[cell] |= before.there[cell] & !bit(tag);
            self.done[cell] |= bit(tag);
        }
    }

    /// A store beyond the end of the file is no part of it, at any time.
    pub fn stored_beyond(&mut self, cell: usize, tag: Tag) {
        self.past[cell] |= bit(tag);
    }

    /// `newer`: what the call that wrote `tag` found, if that one is still under way.
    pub fn read(&mut self, cell: usize, tag: Tag, before: &Before, newer: Option<&Before>) {
        if before.past[cell] & bit(tag) != 0 {
            self.breaks_at(cell, Broken::Fresh);
        }
        // What reads had returned before this one began was older, if it was something else.
        let older = before.seen[cell] | newer.map_or(0, |n| n.there[cell]);
        self.past[cell] |= older & !bit(tag);
        self.seen[cell] |= bit(tag);
    }

    /// The end: what is left of a cell.
    pub fn is_left(&mut self, cell: usize, tag: Tag) {
        if self.past[cell] & bit(tag) != 0 {
            self.breaks_at(cell, Broken::Lost);
        }
    }
}
