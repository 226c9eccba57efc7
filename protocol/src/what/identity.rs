//! What identifies the storage behind a descriptor.

use kernel::Stat;
use lock_table::FileId;

/// What identifies the storage behind a descriptor: a regular file or a block device.
pub fn identity(stat: &Stat) -> Option<FileId> {
    if stat.is_regular() {
        Some(FileId {
            dev: stat.dev,
            ino: stat.ino,
        })
    } else if stat.is_block_device() {
        // No filesystem has inode 0; the device's own number is the identity, whichever node opened it.
        Some(FileId {
            dev: stat.rdev,
            ino: 0,
        })
    } else {
        None
    }
}

/// A word that stands for the file, to find it again among numbers that are not fenced; never 0.
pub fn mark_of(id: FileId) -> u32 {
    let mixed = (id.ino ^ id.dev.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32 | 1
}
