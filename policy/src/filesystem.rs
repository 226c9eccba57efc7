//! Filesystem names: the words that `filesystem = [...]` takes, and the magic numbers of
//! `statfs` that they stand for.

/// The filesystems that hold files of users.
const STORAGE: &[(&str, u32)] = &[
    ("ext4", 0xef53),
    ("xfs", 0x5846_5342),
    ("btrfs", 0x9123_683e),
    ("tmpfs", 0x0102_1994),
    ("f2fs", 0xf2f5_2010),
    ("bcachefs", 0xca45_1a4e),
    ("zfs", 0x2fc1_2fc1),
    ("nfs", 0x6969),
    ("cifs", 0xff53_4d42),
    ("smb2", 0xfe53_4d42),
    ("ceph", 0x00c3_6400),
    ("gfs2", 0x0116_1970),
    ("ocfs2", 0x7461_636f),
    ("9p", 0x0102_1997),
    ("lustre", 0x0bd0_0bd0),
    ("afs", 0x5346_414f),
    ("beegfs", 0x1983_0326),
    ("gpfs", 0x4750_4653),
    ("fuse", 0x6573_5546),
    ("overlay", 0x794c_7630),
    ("ecryptfs", 0xf15f),
    ("exfat", 0x2011_bab0),
    ("vfat", 0x4d44),
    ("ntfs3", 0x7366_746e),
    ("jfs", 0x3153_464a),
    ("nilfs2", 0x3434),
    ("ramfs", 0x8584_58f6),
    ("hugetlbfs", 0x9584_58f6),
];

/// The filesystems by which the kernel speaks of itself: never fenced, whatever a policy says.
const KERNEL: &[(&str, u32)] = &[
    ("proc", 0x9fa0),
    ("sysfs", 0x6265_6572),
    ("cgroup", 0x0027_e0eb),
    ("cgroup2", 0x6367_7270),
    ("debugfs", 0x6462_6720),
    ("tracefs", 0x7472_6163),
    ("securityfs", 0x7363_6673),
    ("selinuxfs", 0xf97c_ff8c),
    ("bpf", 0xcafe_4a11),
    ("devpts", 0x1cd1),
    ("sockfs", 0x534f_434b),
    ("pipefs", 0x5049_5045),
    ("anon_inode", 0x0904_1934),
    ("nsfs", 0x6e73_6673),
    ("binfmt_misc", 0x4249_4e4d),
    ("efivarfs", 0xde5e_81e4),
    ("configfs", 0x6265_6570),
];

/// Every filesystem that is in neither list.
pub(crate) const OTHER: &str = "other";

/// The name for a `statfs` magic number (`f_type`, of which 32 bits count).
/// ext2, ext3 and ext4 have one magic number and so one name, `ext4`.
pub fn name_of_magic(magic: u64) -> &'static str {
    let magic = magic as u32;
    STORAGE
        .iter()
        .chain(KERNEL)
        .find(|(_, number)| *number == magic)
        .map_or(OTHER, |(name, _)| name)
}

/// Whether other hosts, or a server, use and change the files there, too.
pub fn is_shared_with_others(name: &str) -> bool {
    const SHARED: [&str; 12] = [
        "nfs", "cifs", "smb2", "ceph", "gfs2", "ocfs2", "9p", "fuse", "lustre", "afs", "beegfs",
        "gpfs",
    ];
    SHARED.contains(&name)
}

/// Whether a store to a mapped file finds no space where the disk has filled up since, although that was allocated: what is
/// written goes elsewhere each time.
pub fn copies_on_write(name: &str) -> bool {
    ["btrfs", "bcachefs", "zfs", "f2fs", "nilfs2"].contains(&name)
}

/// Whether files there are never fenced.
pub fn is_kernel_filesystem(name: &str) -> bool {
    KERNEL.iter().any(|(kernel, _)| *kernel == name)
}

/// What a rule may name.
pub(crate) fn accepted() -> Vec<&'static str> {
    STORAGE
        .iter()
        .map(|(name, _)| *name)
        .chain([OTHER])
        .collect()
}
