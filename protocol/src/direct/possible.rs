//! `route = "direct"`: whether what is read and written through a descriptor can go past the page cache. Asked once a file,
//! at its first request; what stays in the cache is said then.

use core::sync::atomic::Ordering::Relaxed;

use lock_table::{USE_DIRECT, page};

use crate::direct::alignment::{Alignment, alignment};
use crate::direct::second;
use crate::hold::call::look_at;
use crate::tell::events::{self, Event};
use crate::tell::told::{Once, first_time};
use crate::what::descriptions::Pinned;
use crate::what::file::{File, GOES_PAST, STAYS_CACHED};
use crate::what::seconds::For;
use crate::what::storage::{KEEPS_TAIL, LAYERED};
use crate::who::due;
use crate::who::thread::Frame;

/// Whether what this number reads and writes goes past the cache, which its program has not asked for. Holds nothing.
#[inline(never)]
pub fn is_taken_past(fd: i32) -> bool {
    let by_policy = look_at(fd, |_, _, pinned| {
        pinned.file.settings().goes_past() && !pinned.description.has(libc::O_DIRECT)
    });
    by_policy == Some(true) && is_possible(fd)
}

/// Whether requests of this file go past the cache. Holds nothing.
#[inline(never)]
pub fn is_possible(fd: i32) -> bool {
    let possible = look_at(fd, |_, frame, pinned| {
        let file = pinned.file;
        if !file.has(GOES_PAST | STAYS_CACHED) {
            decide(fd, frame, pinned);
        }
        file.has(GOES_PAST)
    });
    due::look_if_due();
    possible.unwrap_or(false)
}

#[cold]
fn decide(fd: i32, frame: &Frame, pinned: &Pinned) {
    let file = pinned.file;
    match what_hinders(fd, frame, pinned) {
        None => {
            // First so that everybody knows: who finds the mark goes past the cache.
            file.add_lasting_use(pinned.file_index, USE_DIRECT, fd);
            file.mark(GOES_PAST);
        }
        Some(reason) => {
            let of_all = file.has(LAYERED | KEEPS_TAIL);
            let is_news = !of_all || first_time(Once::NothingBeneath);
            if !file.mark(STAYS_CACHED) && is_news {
                events::emit(&Event {
                    fd,
                    done: "through the page cache",
                    ..Event::uncovered(Some(file.id()), reason)
                });
            }
        }
    }
}

fn what_hinders(fd: i32, frame: &Frame, pinned: &Pinned) -> Option<&'static str> {
    let file = pinned.file;
    if file.has(LAYERED) {
        return Some("route = \"direct\": the layers of an overlay stay in the page cache");
    }
    if file.has(KEEPS_TAIL) {
        return Some("route = \"direct\": there is nothing beneath the page cache of a tmpfs");
    }
    let blocks = blocks(file, fd);
    if blocks.offset > page() || blocks.memory > page() {
        return Some("route = \"direct\": the blocks of this file are larger than a page");
    }
    let reads = pinned.description.allows(false) && opens(frame, file, fd, For::ReadingPast);
    let writes = pinned.description.allows(true)
        && opens(frame, file, fd, For::WritingPast)
        && opens(frame, file, fd, For::Writing);
    match reads || writes {
        true => None,
        false => {
            Some("route = \"direct\": the file takes no O_DIRECT, or can't be opened once more")
        }
    }
}

fn opens(frame: &Frame, file: &File, fd: i32, purpose: For) -> bool {
    second::borrow(frame, file, fd, purpose)
        .map(|second| second.done())
        .is_some()
}

/// Whether direct I/O is known to ask for some alignment.
pub fn says_its_blocks(file: &File) -> bool {
    file.alignment.load(Relaxed) & 0xffff_ffff > 1
}

/// What a request must be aligned to. Where nothing is said (btrfs) the kernel would go through the cache by itself with
/// what isn't aligned to a sector of the filesystem, which is a page there.
pub fn blocks(file: &File, fd: i32) -> Alignment {
    let said = alignment(file, fd);
    match said.offset {
        0 | 1 => Alignment {
            memory: page(),
            offset: page(),
        },
        _ => said,
    }
}
