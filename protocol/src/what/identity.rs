//! What identifies the storage behind a descriptor.

use kernel::Stat;
use lock_table::FileId;

use crate::what::file::File;

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

/// The file's size, if the number stands for it still. Apart from calls below which others go deep: what the kernel
/// tells of a file takes room on the stack.
#[inline(never)]
pub fn size_through(fd: i32, file: &File) -> Option<u64> {
    let stat = kernel::fstat(fd).ok()?;
    stands_for(&stat, file).then_some(stat.size)
}

/// The same as a call that reads or writes sees it: a block device has no end.
pub fn end_through(fd: i32, file: &File) -> Option<u64> {
    let size = size_through(fd, file)?;
    Some(match file.is_block_device() {
        true => u64::MAX,
        false => size,
    })
}

/// The file's id seen through the number now, for a call that is about to rely on it.
pub fn stands_for(stat: &Stat, file: &File) -> bool {
    identity(stat) == Some(file.id())
}
