//! What is explored: which programs, on which kernels.
//!
//! A file of 3 cells (a unit that is not full, its last page half full) and one of 5 (a full unit, and half a page).
//! Cells 0 and 1 share a page, 0 and 2 a unit and, where folios are large, a folio.

use super::linux::Kind;
use super::state::{Program, State};
use super::steps::Op::{self, *};

/// Every one of these against every two of them.
const CALLS: [Op; 15] = [
    Read(0),
    Load(0),
    Write(1, 1),
    Write(2, 3),
    Append,
    DirectRead(0),
    DirectWrite(0, 0),
    DirectWrite(2, 2),
    DirectWrite(5, 5),
    DirectAppend,
    Truncate(1),
    Truncate(6),
    Punch(1, 1),
    Punch(2, 3),
    Fsync,
];

/// Every two of these against every two, and every one against every three.
const FEWER: [Op; 5] = [
    Load(0),
    Write(1, 1),
    DirectRead(0),
    DirectWrite(0, 0),
    DirectWrite(2, 2),
];

/// Every call against these, while another thread of the same process does one of [`BESIDE`].
const MAPPING: [&[Op]; 5] = [
    &[Map(0)],
    &[Protect(1)],
    &[Map(0), Unmap],
    &[Map(1), Unmap],
    &[Map(1), Load(2)],
];
const BESIDE: [Op; 5] = [Store(1), Store(2), Store(3), Unmap, DirectWrite(2, 2)];

/// Two threads of one process write directly, and somebody reads through a mapping, which keeps pages from being
/// dropped.
const WRITERS: [Op; 3] = [DirectWrite(0, 0), DirectWrite(1, 1), DirectWrite(2, 2)];

const fn kind(large: bool, by_page: bool, goes_on: bool) -> Kind {
    Kind {
        large,
        by_page,
        goes_on,
        rests: false,
    }
}

/// Before Linux 5.9; until 5.17; since 6.6; and one with large folios that is worse than any.
const KINDS: [Kind; 4] = [
    kind(false, false, true),
    kind(false, false, false),
    kind(true, true, false),
    kind(true, false, true),
];

/// XFS from Linux 5.18 to 6.5.
const OLD_LARGE_FOLIOS: Kind = kind(true, false, false);

struct Stories(Vec<State>);

impl Stories {
    fn on(&mut self, kinds: &[Kind], program: [&[Op]; 3]) {
        let program = Program(program.map(|ops| &*ops.to_vec().leak()));
        for kind in kinds {
            let sizes = [3, 5].into_iter();
            self.0
                .extend(sizes.map(|size| State::new(program, *kind, size)));
        }
    }

    fn add(&mut self, program: [&[Op]; 3]) {
        self.on(&KINDS, program);
    }
}

/// Every two of these.
fn pairs(calls: &[Op]) -> impl Iterator<Item = [Op; 2]> {
    calls.iter().flat_map(|a| calls.iter().map(|b| [*a, *b]))
}

pub fn all() -> Vec<State> {
    let mut stories = Stories(Vec::new());
    for a in CALLS {
        pairs(&CALLS).for_each(|b| stories.add([&[a], &b, &[]]));
        for b in MAPPING {
            BESIDE
                .iter()
                .for_each(|beside| stories.add([&[a], b, &[*beside]]));
        }
        for into in [0, 1] {
            let b = [Map(into), DirectReadInto(4, into)];
            stories.add([&[a], &b, &[Unmap]]);
        }
    }
    for a in pairs(&FEWER) {
        pairs(&FEWER).for_each(|b| stories.add([&a, &b, &[]]));
    }
    for [b, c] in pairs(&FEWER) {
        for [a, d] in pairs(&FEWER) {
            stories.add([&[a], &[b, c, d], &[]]);
        }
    }
    // A write in the file makes it longer when it has been cut off meanwhile.
    for beside in [DirectWrite(0, 0), DirectAppend] {
        stories.add([&[Truncate(1), beside], &[Write(4, 4), Write(4, 4)], &[]]);
        stories.add([
            &[beside],
            &[DirectWrite(4, 4), DirectWrite(4, 4)],
            &[Truncate(1)],
        ]);
    }
    stories.add([
        &[DirectWrite(0, 0)],
        &[Load(0), DirectRead(0), Read(0)],
        &[],
    ]);
    for [b, c] in pairs(&WRITERS) {
        for load in [Load(0), Load(2)] {
            stories.add([&[load], &[b], &[c]]);
            stories.add([&[b], &[load], &[c]]);
            stories.add([&[b], &[load, Read(0)], &[c]]);
        }
    }
    // Somebody who isn't fenced stores, and the kernel writes nothing back meanwhile.
    let rests = KINDS.map(|kind| Kind {
        rests: true,
        ..kind
    });
    for a in WRITERS {
        stories.on(&rests, [&[a, Read(0)], &[StoreUnfenced(3)], &[Read(2)]]);
    }
    stories.0
}

/// What is known not to hold: who isn't fenced stores, and the kernel writes that back in the middle of a direct write.
pub fn with_an_unfenced_store() -> Vec<State> {
    let mut stories = Stories(Vec::new());
    stories.add([&[DirectWrite(0, 0)], &[StoreUnfenced(1)], &[]]);
    stories.0
}

/// ... the kernel itself falls back, holding nothing beside its pages, and writes a whole folio back.
pub fn on_old_large_folios() -> Vec<State> {
    let mut stories = Stories(Vec::new());
    let program: [&[Op]; 3] = [&[DirectWrite(0, 0)], &[Load(2)], &[DirectWrite(2, 2)]];
    stories.on(&[OLD_LARGE_FOLIOS], program);
    stories.0
}
