//! Known content: every word of a file tells which write put it there and where it belongs.

use crate::sys::Res;

const INDEX_BITS: u32 = 24;

/// The word that write `tag` puts at `offset` (files up to 128 MiB, tags below 2^40).
pub fn word(offset: u64, tag: u64) -> u64 {
    (tag << INDEX_BITS) | ((offset / 8) & ((1 << INDEX_BITS) - 1))
}

pub fn tag_of(word: u64) -> u64 {
    word >> INDEX_BITS
}

/// Fills `bytes`, which go to `offset`, as write `tag` does.
pub fn fill(bytes: &mut [u8], offset: u64, tag: u64) {
    for (index, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&word(offset + index as u64 * 8, tag).to_ne_bytes());
    }
}

pub fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes
        .chunks_exact(8)
        .map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default()))
}

/// What a word says, for a person.
pub fn describe(word: u64) -> String {
    match word {
        0 => "zero".into(),
        _ => format!(
            "write {:#x}'s word of offset {}",
            tag_of(word),
            (word & ((1 << INDEX_BITS) - 1)) * 8
        ),
    }
}

/// The first difference, and how many there are.
pub struct Wrong {
    pub offset: u64,
    pub expected: u64,
    pub seen: u64,
    pub count: u64,
}

impl Wrong {
    pub fn explain(&self) -> String {
        let (expected, seen) = (describe(self.expected), describe(self.seen));
        format!(
            "offset {}: expected {expected}, saw {seen}; {} words wrong",
            self.offset, self.count
        )
    }
}

/// What a file must hold.
pub struct Model(Vec<u64>);

impl Model {
    pub fn new(size: u64, tag: u64) -> Model {
        Model((0..size / 8).map(|index| word(index * 8, tag)).collect())
    }

    pub fn get(&self, offset: u64) -> u64 {
        self.0[offset as usize / 8]
    }

    pub fn set(&mut self, offset: u64, value: u64) {
        self.0[offset as usize / 8] = value;
    }

    pub fn write(&mut self, offset: u64, len: u64, tag: u64) {
        for at in (offset..offset + len).step_by(8) {
            self.set(at, word(at, tag));
        }
    }

    /// Compares `bytes`, read at `offset`. Where they differ, `allow(offset, seen)` may say that this is right too.
    pub fn check(
        &self,
        offset: u64,
        bytes: &[u8],
        allow: &dyn Fn(u64, u64) -> bool,
    ) -> Option<Wrong> {
        let mut wrong: Option<Wrong> = None;
        for (index, seen) in words(bytes).enumerate() {
            let at = offset + index as u64 * 8;
            let expected = self.get(at);
            if seen != expected && !allow(at, seen) {
                wrong
                    .get_or_insert(Wrong {
                        offset: at,
                        expected,
                        seen,
                        count: 0,
                    })
                    .count += 1;
            }
        }
        wrong
    }

    /// Takes over what was read.
    pub fn adopt(&mut self, offset: u64, bytes: &[u8]) {
        for (index, seen) in words(bytes).enumerate() {
            self.set(offset + index as u64 * 8, seen);
        }
    }

    pub fn copy_to(&self, offset: u64, bytes: &mut [u8]) -> Res<()> {
        let from = self
            .0
            .get(offset as usize / 8..)
            .ok_or("a range past the end of the model")?;
        for (chunk, value) in bytes.chunks_exact_mut(8).zip(from) {
            chunk.copy_from_slice(&value.to_ne_bytes());
        }
        Ok(())
    }
}
