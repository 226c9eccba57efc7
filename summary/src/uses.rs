//! Which program used which file how: an array of entries, each found by a hash of file and program.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::UseRecord;
use crate::file::{ENTRIES, ENTRY_WORDS, PATH_BYTES, PROGRAM_BYTES, Summary, at};

pub(crate) const FREE: u64 = 0;
pub(crate) const PHASE: u64 = 3;
pub(crate) const WRITING: u64 = 1;
pub(crate) const WHOLE: u64 = 2;

impl Summary {
    /// Notes that a program used a file in these modes (`USED_*`). Walks entries: meant for the
    /// first use of a file in a mode, not for every call.
    pub fn note_use(&self, dev: u64, ino: u64, path: &[u8], program: &[u8], pid: u32, modes: u32) {
        let program = program.get(..PROGRAM_BYTES).unwrap_or(program);
        let hash = hash(dev, ino, program);
        let first = (hash >> 2) as usize;
        for probe in 0..ENTRIES {
            let Some(entry) = self.entry(first.wrapping_add(probe) % ENTRIES) else {
                continue;
            };
            let free = entry.word(at::STATE).is_some_and(|state| {
                let claimed = hash | WRITING;
                // Acquire on failure pairs with the Release below: a whole entry is read whole.
                state
                    .compare_exchange(FREE, claimed, Ordering::Acquire, Ordering::Acquire)
                    .is_ok()
            });
            if free {
                entry.fill(dev, ino, path, program, pid, modes);
                entry.publish(hash);
                return;
            }
            if entry.is(hash, dev, ino, program) {
                entry.add_modes(modes);
                return;
            }
        }
        if let Some(word) = self.word(at::LOST_USES) {
            word.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every use that was noted, one record for each file and program. (Two processes that note
    /// the same use at once may fill two entries.)
    pub fn uses(&self) -> Vec<UseRecord> {
        let mut records: Vec<UseRecord> = Vec::new();
        for record in self.entries().filter_map(|entry| entry.read()) {
            let same = records.iter_mut().find(|other| {
                (other.dev, other.ino, &other.program) == (record.dev, record.ino, &record.program)
            });
            match same {
                Some(same) => same.modes |= record.modes,
                None => records.push(record),
            }
        }
        records
    }

    /// Uses that are missing from [`Summary::uses`]: no entry was free, or the process was killed
    /// while it wrote one.
    pub fn lost_uses(&self) -> u64 {
        let cut_short = self.entries().filter(|entry| entry.is_cut_short()).count();
        self.load(at::LOST_USES).saturating_add(cut_short as u64)
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..ENTRIES).filter_map(|index| self.entry(index))
    }

    pub(crate) fn entry(&self, index: usize) -> Option<Entry<'_>> {
        let first = index.checked_mul(ENTRY_WORDS)?.checked_add(at::ENTRIES)?;
        (index < ENTRIES).then_some(Entry {
            summary: self,
            first,
        })
    }
}

/// One entry of the array of uses.
pub(crate) struct Entry<'a> {
    summary: &'a Summary,
    first: usize,
}

impl Entry<'_> {
    fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.summary.word(self.first.saturating_add(index))
    }

    fn load(&self, index: usize) -> u64 {
        self.summary.load(self.first.saturating_add(index))
    }

    pub(crate) fn store(&self, index: usize, value: u64) {
        self.summary.store(self.first.saturating_add(index), value);
    }

    /// Acquire pairs with the Release in `publish`: who sees WHOLE sees the rest.
    pub(crate) fn state(&self) -> u64 {
        self.word(at::STATE)
            .map_or(FREE, |state| state.load(Ordering::Acquire))
    }

    fn publish(&self, hash: u64) {
        if let Some(state) = self.word(at::STATE) {
            state.store(hash | WHOLE, Ordering::Release);
        }
    }

    fn is_cut_short(&self) -> bool {
        let state = self.state();
        state != FREE && state & PHASE != WHOLE
    }

    fn is(&self, hash: u64, dev: u64, ino: u64, program: &[u8]) -> bool {
        self.state() == hash | WHOLE
            && self.load(at::DEV) == dev
            && self.load(at::INO) == ino
            && self.load(at::PROGRAM_LENGTH) == program.len() as u64
            && words(program)
                .enumerate()
                .all(|(index, word)| self.load(at::PROGRAM.saturating_add(index)) == word)
    }

    fn add_modes(&self, modes: u32) {
        if let Some(word) = self.word(at::MODES) {
            word.fetch_or(u64::from(modes), Ordering::Relaxed);
        }
    }

    fn fill(&self, dev: u64, ino: u64, path: &[u8], program: &[u8], pid: u32, modes: u32) {
        // The end of a path tells more than its beginning.
        let kept = path
            .get(path.len().saturating_sub(PATH_BYTES)..)
            .unwrap_or_default();
        self.store(at::DEV, dev);
        self.store(at::INO, ino);
        self.store(at::MODES, u64::from(modes));
        self.store(at::PID, u64::from(pid));
        self.store(at::PATH_LENGTH, path.len() as u64);
        self.store(at::PROGRAM_LENGTH, program.len() as u64);
        for (index, word) in words(program).enumerate() {
            self.store(at::PROGRAM.saturating_add(index), word);
        }
        for (index, word) in words(kept).enumerate() {
            self.store(at::PATH.saturating_add(index), word);
        }
    }

    fn read(&self) -> Option<UseRecord> {
        if self.state() & PHASE != WHOLE {
            return None;
        }
        let path_length = self.load(at::PATH_LENGTH);
        Some(UseRecord {
            dev: self.load(at::DEV),
            ino: self.load(at::INO),
            path: self.bytes(at::PATH, path_length, PATH_BYTES),
            path_truncated: path_length > PATH_BYTES as u64,
            program: self.bytes(at::PROGRAM, self.load(at::PROGRAM_LENGTH), PROGRAM_BYTES),
            pid: self.load(at::PID) as u32,
            modes: self.load(at::MODES) as u32,
        })
    }

    /// As many bytes as the entry says, and no more than it can hold.
    fn bytes(&self, index: usize, length: u64, most: usize) -> Vec<u8> {
        let length = usize::try_from(length).unwrap_or(most).min(most);
        (0..length.div_ceil(8))
            .flat_map(|word| self.load(index.saturating_add(word)).to_le_bytes())
            .take(length)
            .collect()
    }
}

/// Bytes as words, the last one padded with zeros.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    })
}

/// FNV-1a over the key, its two lowest bits left free for the phase. Never such that a whole or
/// half-written entry looks free: the phase isn't zero.
fn hash(dev: u64, ino: u64, program: &[u8]) -> u64 {
    let key = dev.to_le_bytes().into_iter().chain(ino.to_le_bytes());
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.chain(program.iter().copied()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash & !PHASE
}
