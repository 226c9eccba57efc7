//! The filesystems that the tests run on.

use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Every filesystem that the guarantees are tested on; `scripts/filesystems` makes them.
pub const WANTED: [&str; 6] = ["ext4", "xfs", "xfs64k", "btrfs", "btrfs-nocow", "tmpfs"];

/// A directory on a filesystem of a known kind.
#[derive(Clone, Debug)]
pub struct Place {
    pub name: String,
    pub path: PathBuf,
}

impl Place {
    /// A fresh directory here, removed when it's dropped. Anybody may enter it, since some
    /// programs under test give up root.
    pub fn directory(&self) -> TempDir {
        use std::os::unix::fs::PermissionsExt;
        let dir = self
            .new_directory()
            .unwrap_or_else(|e| panic!("{} ({}): {e}", self.path.display(), self.name));
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(dir.path(), open).expect("chmod of a directory of ours");
        dir
    }

    /// Whether it is one of those, of the usual blocks, that go past the page cache for real and lose what is mixed.
    pub fn is_ext4_or_xfs(&self) -> bool {
        ["ext4", "xfs"].contains(&self.name.as_str())
    }

    fn new_directory(&self) -> std::io::Result<TempDir> {
        tempfile::Builder::new()
            .prefix("pagefence-test-")
            .tempdir_in(&self.path)
    }

    /// Whether the kernel has shut the filesystem down: it refuses everything with EIO, or with EROFS.
    /// (Linux 6.18 has been seen to do that to an xfs, once in some thousand runs, "Corruption of
    /// in-memory data", and to a small btrfs: "Transaction aborted (error -28)".)
    pub fn is_shut_down(&self) -> bool {
        self.new_directory()
            .is_err_and(|e| matches!(e.raw_os_error(), Some(libc::EIO | libc::EROFS)))
    }

    /// Makes it anew.
    pub fn renew(&self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/filesystems");
        let root = match self.path.parent() {
            Some(parent) if self.name == "btrfs-nocow" => parent.parent(),
            parent => parent,
        };
        let root = root.expect("a mount point stands in a directory");
        let done = std::process::Command::new(script)
            .arg("renew")
            .arg(&self.name)
            .arg(root)
            .status();
        assert!(
            done.is_ok_and(|status| status.success()),
            "{}: shut down by the kernel (see dmesg), and can't be made anew",
            self.name
        );
    }
}

/// The filesystems given in `PAGEFENCE_TEST_FILESYSTEMS` ("name=/path name=/path"), or else the
/// one that the current directory is on.
pub fn places() -> Vec<Place> {
    let given = std::env::var("PAGEFENCE_TEST_FILESYSTEMS").unwrap_or_default();
    let places = parse(&given);
    if places.is_empty() {
        crate::skip(
            "PAGEFENCE_TEST_FILESYSTEMS is not set, so only the current directory's filesystem is tested",
        );
        let here = std::env::current_dir().expect("a current directory");
        return vec![Place {
            name: filesystem_of(&here),
            path: here,
        }];
    }
    for wanted in WANTED
        .iter()
        .filter(|w| !places.iter().any(|p| p.name == **w))
    {
        crate::skip(&format!("{wanted}: not in PAGEFENCE_TEST_FILESYSTEMS"));
    }
    places
}

/// One place: ext4 if it is there, or else the first.
pub fn main_place() -> Place {
    let all = places();
    let ext4 = all.iter().find(|p| p.name == "ext4").or(all.first());
    ext4.cloned().expect("places() is never empty")
}

fn parse(given: &str) -> Vec<Place> {
    let pair = |item: &str| {
        let (name, path) = item
            .split_once('=')
            .unwrap_or_else(|| panic!("not NAME=/PATH: {item}"));
        Place {
            name: name.to_owned(),
            path: PathBuf::from(path),
        }
    };
    given.split_whitespace().map(pair).collect()
}

/// The filesystem's name as the mount table has it.
fn filesystem_of(path: &Path) -> String {
    mount_of(path).map_or_else(|| "unknown".to_owned(), |mount| mount.kind)
}

/// What the mount table says of a mount.
#[derive(Debug)]
pub struct Mount {
    point: PathBuf,
    /// The filesystem's name.
    pub kind: String,
    /// A device, or what stands in for one.
    pub source: String,
    /// As the filesystem has them.
    pub options: String,
}

/// The mount that a path is in. One that lies over another at the same place comes later in the table.
pub fn mount_of(path: &Path) -> Option<Mount> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ').map(str::to_owned);
        Some(Mount {
            point: PathBuf::from(left.split(' ').nth(4)?),
            kind: right.next()?,
            source: right.next()?,
            options: right.next()?,
        })
    };
    let mounts = table.lines().filter_map(mount);
    let above = mounts.filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.as_os_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_places() {
        let places = parse("ext4=/a xfs64k=/b/c");
        let names: Vec<_> = places.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["ext4", "xfs64k"]);
        assert_eq!(places[1].path, Path::new("/b/c"));
    }

    #[test]
    fn proc_is_proc() {
        assert_eq!(filesystem_of(Path::new("/proc/self")), "proc");
    }
}
