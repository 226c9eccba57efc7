//! What the lock table of a fence says now: what programs in it use, have mapped, hold and wait for.

use crate::fence::Fence;
use lock_table::{
    FileId, MappingInfo, SlotInfo, SlotState, Snapshot, Table, USE_BUFFERED, USE_DIRECT, UseInfo,
};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub fn snapshot(fence: &Fence) -> Snapshot {
    let table = Table::inspect(&fence.table_name());
    table.expect("a table that a program has made").snapshot()
}

pub fn id_of(path: &Path) -> FileId {
    let stat = path.metadata().expect("a file of the program's");
    FileId {
        dev: stat.dev(),
        ino: stat.ino(),
    }
}

/// First and last byte of each registered mapping of the file.
pub fn mapped(fence: &Fence, path: &Path) -> Vec<(u64, u64)> {
    let id = id_of(path);
    let of_file = |m: &&MappingInfo| m.file == id && m.writable;
    let all = snapshot(fence).mappings;
    all.iter()
        .filter(of_file)
        .map(|m| (m.first, m.last))
        .collect()
}

/// How the file is used, as far as the table knows.
pub fn used(fence: &Fence, path: &Path) -> u32 {
    let id = id_of(path);
    let uses = snapshot(fence).uses;
    let of_file = uses.iter().filter(|u| u.file == id);
    of_file.fold(0, |bits, u| bits | modes(u))
}

/// In which modes.
pub fn modes(u: &UseInfo) -> u32 {
    u.bits & (USE_BUFFERED | USE_DIRECT)
}

/// First and last byte of what is held of the file, or waited for.
pub fn claimed(fence: &Fence, path: &Path, state: SlotState) -> Vec<(u64, u64)> {
    let id = id_of(path);
    let of_file = |s: &&SlotInfo| s.claim.file == id && s.state == state;
    let all = snapshot(fence).slots;
    all.iter()
        .filter(of_file)
        .map(|s| (s.claim.first, s.claim.last))
        .collect()
}
