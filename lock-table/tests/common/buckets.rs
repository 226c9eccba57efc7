//! The buckets of hints: which a slot has its bit in, and what shares one with what. Both are found by looking into the
//! table's file. Of the crate's inside this knows where the bitmaps stand and not what is put where, and whoever asks
//! for a claim's bucket is told when they no longer stand there.

use super::{Dir, attach};
use lock_table::{Claim, FileId, Geometry, Mode, Slot, Table};
use std::ffi::CStr;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What of a file shares a bucket.
pub const STRIPE: u64 = 4 << 20;
const BUCKETS: usize = 4096;
/// A bucket's bits for so many slots stand together, in as many bytes. The lines with the first slots of all buckets
/// follow each other, then those with the next.
const SLOTS: usize = 512;
const LINE: usize = SLOTS / 8;

/// The bitmaps of one table.
pub struct Bits {
    file: File,
    start: u64,
}

impl Bits {
    pub fn of(path: &CStr, g: &Geometry) -> Bits {
        let slots = u64::from(g.slots + g.requests);
        Bits {
            file: File::open(path.to_str().unwrap()).unwrap(),
            start: 4096 + 64 * u64::from(g.processes) + 128 * slots,
        }
    }

    /// The buckets in which the slot has its bit.
    pub fn of_slot(&self, s: Slot) -> Vec<u32> {
        let slot = s.index() as usize;
        let mut lines = vec![0; BUCKETS * LINE];
        let at = slot / SLOTS * lines.len();
        let read = self.file.read_exact_at(&mut lines, self.start + at as u64);
        read.unwrap();
        let has = |line: &[u8]| line[slot % SLOTS / 8] & 1 << (slot % 8) != 0;
        let buckets = (0..).zip(lines.chunks(LINE));
        buckets.filter(|b| has(b.1)).map(|b| b.0).collect()
    }
}

/// Finds out what shares a bucket.
pub struct Search {
    _dir: Dir,
    table: &'static Table,
    bits: Bits,
}

impl Search {
    pub fn new() -> Search {
        let dir = Dir::new();
        let path = dir.table();
        let g = Geometry {
            processes: 1,
            slots: SLOTS as u32,
            requests: 1,
            mappings: 1,
            uses: 1,
        };
        Table::create(&path, &g).unwrap();
        Search {
            table: attach(&path),
            bits: Bits::of(&path, &g),
            _dir: dir,
        }
    }

    /// The bucket of a claim that has one only: in one stripe, or wide.
    pub fn bucket(&self, c: &Claim) -> u32 {
        let s = self.table.take_slot(1).unwrap();
        self.table.announce(s, c);
        let buckets = self.bits.of_slot(s);
        self.table.give_slot(s);
        assert_eq!(buckets.len(), 1, "{c:?}: are the bitmaps still there?");
        buckets[0]
    }

    /// The first of these claims that is in this bucket.
    pub fn first_in(&self, bucket: u32, mut claims: impl Iterator<Item = Claim>) -> Claim {
        loop {
            // A slot for each, and one look.
            let slots: Vec<Slot> = std::iter::from_fn(|| self.table.take_slot(1)).collect();
            let some: Vec<Claim> = claims.by_ref().take(slots.len()).collect();
            assert!(!some.is_empty(), "none is in bucket {bucket}");
            for (s, c) in slots.iter().zip(&some) {
                self.table.announce(*s, c);
            }
            let mut line = [0u8; LINE];
            let at = self.bits.start + u64::from(bucket) * LINE as u64;
            self.bits.file.read_exact_at(&mut line, at).unwrap();
            slots.iter().for_each(|s| self.table.give_slot(*s));
            let mut found = slots.iter().zip(&some).filter(|(s, _)| {
                let slot = s.index() as usize;
                line[slot / 8] & 1 << (slot % 8) != 0
            });
            if let Some((_, c)) = found.next() {
                return *c;
            }
        }
    }
}

/// So many stripes of a file from this one on.
pub fn stripes(file: FileId, from: u64, count: u64, mode: Mode) -> Claim {
    let first = from * STRIPE;
    Claim {
        file,
        first,
        last: first + (count * STRIPE - 1),
        mode,
        atomic: false,
    }
}

/// A wide claim: it is in the file's own bucket.
pub fn whole(file: FileId, mode: Mode) -> Claim {
    Claim {
        last: u64::MAX,
        ..stripes(file, 0, 1, mode)
    }
}
