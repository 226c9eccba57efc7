//! Texts of a ring, each written once and named by its place; and the paths of files. Many may write at once, and any of
//! them may be killed: a text is there when a cell of the index names it, whole, and nobody waits for anybody.

use core::sync::atomic::Ordering::*;

use crate::Ring;
use crate::format::{FILE_WORDS, MOST_OF_A_TEXT, Text, WORD, at};

/// How far from its own place a text or a file may lie.
const REACH: usize = 64;

/// FNV-1a.
#[inline(always)]
fn hash(parts: impl IntoIterator<Item = u8>) -> u64 {
    parts.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The bytes as words, the last one filled up with zeros.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(WORD).map(|chunk| {
        let mut word = [0; WORD];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    })
}

#[inline(never)]
pub fn text(ring: Ring, bytes: &[u8]) -> Text {
    if bytes.is_empty() {
        return Text::NONE;
    }
    let bytes = bytes.get(..MOST_OF_A_TEXT).unwrap_or(bytes);
    let hash = hash(bytes.iter().copied());
    let mark = hash & 0xffff_ffff_0000_0000;
    let mut own = None;
    for step in 0..REACH.min(ring.shape().index) {
        let cells = ring.shape().index;
        let place = (hash as usize).wrapping_add(step).checked_rem(cells);
        let Some(cell) = place.and_then(|place| ring.shape().cell(place)) else {
            break;
        };
        let Some(word) = ring.word(cell) else { break };
        let mut seen = word.load(Acquire);
        if seen == 0 {
            let Some(put) = own.or_else(|| put(ring, bytes)) else {
                break;
            };
            own = Some(put);
            match word.compare_exchange(0, mark | u64::from(put), AcqRel, Acquire) {
                Ok(_) => return Text(put),
                Err(there) => seen = there,
            }
        }
        if seen & 0xffff_ffff_0000_0000 == mark && is_there(ring, seen as u32, bytes) {
            return Text(seen as u32);
        }
    }
    lose(ring)
}

#[cold]
#[inline(never)]
fn lose(ring: Ring) -> Text {
    if let Some(word) = ring.word(at::TEXTS_LOST) {
        word.fetch_add(1, Relaxed);
    }
    Text::NONE
}

/// Writes it behind the others. None: there is no room.
#[inline(never)]
fn put(ring: Ring, bytes: &[u8]) -> Option<u32> {
    let needed = bytes.len().div_ceil(WORD).saturating_add(1);
    let head = ring.word(at::TEXT_HEAD)?;
    // What doesn't fit takes nothing: a shorter one may.
    let taken = head.fetch_update(AcqRel, Acquire, |head| {
        let from = usize::try_from(head).ok()?;
        let fits = ring.shape().text(from, needed).is_some();
        fits.then(|| head.saturating_add(needed as u64))
    });
    let from = usize::try_from(taken.ok()?).ok()?;
    let place = ring.shape().text(from, needed)?;
    ring.store(place, bytes.len() as u64);
    for (at, word) in words(bytes).enumerate() {
        ring.store(place.saturating_add(at).saturating_add(1), word);
    }
    u32::try_from(from.saturating_add(1)).ok()
}

/// Whether these bytes are the text there.
#[inline(never)]
fn is_there(ring: Ring, text: u32, bytes: &[u8]) -> bool {
    let needed = bytes.len().div_ceil(WORD).saturating_add(1);
    let place = (text as usize)
        .checked_sub(1)
        .and_then(|from| ring.shape().text(from, needed));
    place.is_some_and(|place| {
        ring.load(place) == bytes.len() as u64
            && words(bytes)
                .enumerate()
                .all(|(at, word)| ring.load(place.saturating_add(at).saturating_add(1)) == word)
    })
}

/// The phase of a file's words: the lowest bits of the first.
const PHASE: u64 = 3;
const WRITING: u64 = 1;
const WHOLE: u64 = 2;
const PATH: usize = FILE_WORDS - 1;

/// A file's place, and whether it is there already. None: there is no room.
fn find(ring: Ring, file: (u64, u64), make: bool) -> Option<usize> {
    let (dev, ino) = file;
    let key = dev.to_le_bytes().into_iter().chain(ino.to_le_bytes());
    let hash = hash(key);
    let tag = hash & !PHASE;
    for step in 0..REACH.min(ring.shape().files) {
        let place = ((hash >> 2) as usize)
            .wrapping_add(step)
            .checked_rem(ring.shape().files)?;
        let place = ring.shape().file(place)?;
        let state = ring.word(place)?;
        let mut seen = state.load(Acquire);
        if seen == 0 && !make {
            return None;
        }
        if seen == 0 {
            match state.compare_exchange(0, tag | WRITING, AcqRel, Acquire) {
                Ok(_) => {
                    ring.store(place.saturating_add(1), dev);
                    ring.store(place.saturating_add(2), ino);
                    state.store(tag | WHOLE, Release);
                    return Some(place);
                }
                Err(there) => seen = there,
            }
        }
        let is = |at: usize, value| ring.load(place.saturating_add(at)) == value;
        if seen == tag | WHOLE && is(1, dev) && is(2, ino) {
            return Some(place);
        }
    }
    None
}

#[inline(never)]
pub fn path_of(ring: Ring, file: (u64, u64)) -> Option<Text> {
    let place = find(ring, file, false)?;
    let path = ring.load(place.saturating_add(PATH)) as u32;
    (path != 0).then_some(Text(path))
}

#[inline(never)]
pub fn is_called(ring: Ring, file: (u64, u64), path: Text) {
    if let Some(place) = find(ring, file, true) {
        ring.store(place.saturating_add(PATH), path.0.into());
    }
}
