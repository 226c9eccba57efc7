//! What a link of /proc leads to: which file, and by which mount. Asked of the link itself (`statx` follows it to the very
//! file, in whichever namespace it lies), because the device that `maps` names is another one on btrfs and overlayfs.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, StatxFlags, makedev, statx};
use rustix::io;

/// A file: by device and inode, or, of a block device, the device that it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id {
    pub is_device: bool,
    pub device: u64,
    pub inode: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub id: Id,
    /// The kernel's number of the mount; 0: not known.
    pub mount: u64,
    pub links: u32,
}

/// `Ok(None)`: it has no page cache that modes could be mixed in (a pipe, a socket, a directory...).
pub fn at(directory: impl AsFd, name: impl rustix::path::Arg) -> io::Result<Option<Seen>> {
    // A server that doesn't answer is not waited for.
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let found = statx(directory, name, flags, mask)?;
    let (mount, links) = (found.stx_mnt_id, found.stx_nlink);
    let id = match FileType::from_raw_mode(u32::from(found.stx_mode)) {
        FileType::RegularFile => Id {
            is_device: false,
            device: makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        },
        FileType::BlockDevice => Id {
            is_device: true,
            device: makedev(found.stx_rdev_major, found.stx_rdev_minor),
            inode: 0,
        },
        _ => return Ok(None),
    };
    Ok(Some(Seen { id, mount, links }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_is_what_stat_says_and_a_pipe_is_nothing() {
        let file = std::env::current_exe().expect("a program");
        let stat = file.metadata().expect("a file");
        let seen = at(CWD, &file).expect("a file").expect("a file");
        let id = (seen.id.device, seen.id.inode, seen.id.is_device);
        assert_eq!(id, (stat.dev(), stat.ino(), false));
        assert!(at(CWD, "/dev/null").expect("there").is_none());
        assert!(at(CWD, "/proc/self").expect("there").is_none());
    }
}
