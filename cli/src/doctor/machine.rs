//! The machine: its kernel, what of it the library does without, its filesystems and what mixing modes costs there, limits.

use std::collections::BTreeMap;
use std::path::Path;

use policy::Policy;
use rustix::process::{Resource, getrlimit};

use super::diagnosis::{Diagnosis, Section};
use super::place;
use crate::say::Shown;
use crate::{library, tables};

pub fn diagnose(policy: &Policy) -> Diagnosis {
    let release = release();
    let mut kernel = Section::new("kernel");
    kernel.covered(
        "kernel",
        format_args!(
            "Linux {release}, {}, glibc {}",
            std::env::consts::ARCH,
            glibc()
        ),
    );
    match library::find() {
        Ok(library) => kernel.covered(
            "library",
            format_args!("the library is {}", library.shown()),
        ),
        Err(failure) => kernel.uncovered("library", failure.message, failure.advice),
    }
    features(&mut kernel);
    rings(&mut kernel, policy);
    modules(&mut kernel);
    let mut filesystems = Section::new("filesystems");
    mounts(&mut filesystems, &release);
    let mut all_limits = Section::new("limits of what is started from here");
    limits(&mut all_limits);
    let mut surroundings = Section::new("table and policy");
    let user = rustix::process::geteuid().as_raw();
    place::examine(
        &mut surroundings,
        &tables::place::table_of(user, tables::place::variable(), policy),
    );
    let sections = vec![kernel, filesystems, all_limits, surroundings];
    Diagnosis::new("machine", release, sections, Vec::new())
}

/// For a program or a process: only what it would miss.
pub fn what_is_missing(section: &mut Section) {
    features(section);
    section
        .findings
        .retain(|finding| finding.state != super::diagnosis::State::Covered);
    modules(section);
}

fn release() -> String {
    let uname = rustix::system::uname();
    uname.release().to_string_lossy().into_owned()
}

fn glibc() -> String {
    // SAFETY: libc's own text, which stays.
    unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) }
        .to_string_lossy()
        .into_owned()
}

/// A call that only asks, with arguments that change nothing: whether it is there.
fn has(number: i64, arguments: [usize; 6]) -> bool {
    // SAFETY: the calls below have null pointers or numbers that no file has.
    let answer = unsafe { kernel::any(number as usize, arguments) };
    answer != -(libc::ENOSYS as isize) && answer != -(libc::EPERM as isize)
}

/// Calls that the library makes where it can, with arguments that change nothing.
fn features(section: &mut Section) {
    const NO_FILE: [usize; 6] = [usize::MAX, 0, 0, 0, 0, 0];
    let this = std::process::id() as usize;
    let all = [
        ("membarrier", libc::SYS_membarrier, [0; 6]),
        ("statx", libc::SYS_statx, NO_FILE),
        (
            "process_vm_readv",
            libc::SYS_process_vm_readv,
            [this, 0, 0, 0, 0, 0],
        ),
        ("sync_file_range", libc::SYS_sync_file_range, NO_FILE),
        ("preadv2", libc::SYS_preadv2, NO_FILE),
    ];
    let (there, missing): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|(_, number, arguments)| has(*number, *arguments));
    let names = |list: &[(&'static str, i64, [usize; 6])]| {
        let names: Vec<_> = list.iter().map(|feature| feature.0).collect();
        names.join(", ")
    };
    if !there.is_empty() {
        section.covered(
            "features",
            format_args!("the kernel has, and lets this user call, {}", names(&there)),
        );
    }
    if !missing.is_empty() {
        section.note(
            "features",
            format_args!("missing or refused: {}", names(&missing)),
            "the library has substitutes, or does without; without membarrier every call takes its range, also while a file is used in one mode only",
        );
    }
}

fn rings(section: &mut Section, policy: &Policy) {
    let disabled =
        std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let probed = has(libc::SYS_io_uring_setup, [0; 6]);
    let refused = policy.enforces() && policy.defaults().io_uring.refuses();
    match (disabled.trim(), probed) {
        ("2", _) | (_, false) => section.covered(
            "io_uring",
            "io_uring is switched off here: nobody passes by that way",
        ),
        _ if refused => section.covered(
            "io_uring",
            "io_uring is there, and refused to fenced programs (io_uring = \"refuse\")",
        ),
        _ => section.note(
            "io_uring",
            "io_uring is there, and the policy allows it",
            "write io_uring = \"refuse\" under [defaults]",
        ),
    }
}

/// What may keep a library out that this command can't see from here.
fn modules(section: &mut Section) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let active = read("/sys/kernel/security/lsm");
    if read("/sys/fs/selinux/enforce").trim() == "1" {
        section.note("selinux", "SELinux is enforcing: a program that changes its domain when it starts ignores LD_PRELOAD (AT_SECURE)",
            "allow `noatsecure` for the transition, and the domain to use the table and to map the library");
    } else if active.contains("selinux") {
        section.note("selinux", "SELinux is there, and permissive", "");
    }
    let profile = read("/proc/self/attr/current");
    let confined = profile.trim_end_matches(['\0', '\n']);
    if active.contains("apparmor") && !confined.is_empty() && confined != "unconfined" {
        section.note(
            "apparmor",
            format_args!("AppArmor confines this shell: {confined}"),
            "the profile must let programs map the library and write the table",
        );
    } else if active.contains("apparmor") {
        section.note("apparmor", "AppArmor is there: profiles may scrub the environment of what they start (Ux, Px), and LD_PRELOAD with it", "");
    }
    let status = read("/proc/self/status");
    if status
        .lines()
        .any(|line| line.starts_with("Seccomp:") && !line.ends_with('0'))
    {
        section.note(
            "sandbox",
            "a seccomp filter is on already: it can't be asked what it allows",
            "one that kills must allow what the library uses (docs/limits.md: sandboxes)",
        );
    }
}

/// What mixing loses on a filesystem of this type.
fn loses(kind: &str, release: &str) -> Option<(bool, String)> {
    let yes = |text: &str| Some((true, text.to_owned()));
    match kind {
        "ext4" | "ext3" | "ext2" => yes(
            "mixed modes lose writes and leave stale pages for good on the bare kernel; fenced, they don't",
        ),
        "xfs" if writes_whole_folios(release) => yes(
            "mixed modes lose writes on the bare kernel; fenced they don't, but Linux 5.18 to 6.5 may undo a direct write for which the kernel itself goes through the cache",
        ),
        "xfs" => yes(
            "mixed modes lose writes and leave stale pages for good on the bare kernel; fenced, they don't",
        ),
        "btrfs" => yes(
            "direct writes of checksummed files go through the cache: little is lost; files without checksums (nodatacow) are as on ext4; fenced, nothing is",
        ),
        "tmpfs" => yes(
            "there is no device: only calls and changes of layout that overlap tear; fenced, they don't",
        ),
        "overlay" => {
            yes("direct writes of files in mixed use go through the cache, each with an fdatasync")
        }
        "f2fs" | "bcachefs" | "zfs" | "vfat" | "exfat" | "ntfs3" | "jfs" => {
            yes("fenced as any other; it was not tried")
        }
        kind if kind.starts_with("nfs") || kind.starts_with("fuse") => hosts(),
        "cifs" | "smb3" | "ceph" | "9p" | "gfs2" | "ocfs2" | "lustre" => hosts(),
        _ => None,
    }
}

fn hosts() -> Option<(bool, String)> {
    Some((
        false,
        "fenced between the processes of this host: other hosts and its server are not kept out"
            .to_owned(),
    ))
}

/// XFS of these kernels writes a large folio back whole.
fn writes_whole_folios(release: &str) -> bool {
    let mut numbers = release
        .split(['.', '-'])
        .map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    ((5, 18)..=(6, 5)).contains(&version)
}

fn mounts(section: &mut Section, release: &str) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in mounts.lines() {
        let (Some((left, right)), true) = (line.split_once(" - "), line.contains(' ')) else {
            continue;
        };
        let (Some(kind), Some(at)) = (right.split(' ').next(), left.split(' ').nth(4)) else {
            continue;
        };
        kinds.entry(kind).or_default().push(at);
    }
    for (kind, at) in &kinds {
        let Some((covered, what)) = loses(kind, release) else {
            continue;
        };
        let shown = match at.as_slice() {
            [one] => (*one).to_owned(),
            [first, others @ ..] => format!("{first} and {} more", others.len()),
            [] => continue,
        };
        let line = format!("{kind} ({shown}): {what}");
        match covered {
            true => section.covered("filesystem", line),
            false => section.note(
                "filesystem",
                line,
                "start all programs that use these files on one host, and fenced",
            ),
        }
    }
    if kinds.is_empty() {
        section.note(
            "filesystem",
            "what is mounted can't be seen: there is no /proc",
            "",
        );
    }
}

fn limits(section: &mut Section) {
    numbers(section);
    let table = 20 << 20;
    for (resource, name) in [
        (Resource::As, "memory (ulimit -v)"),
        (Resource::Fsize, "length of files (ulimit -f)"),
    ] {
        match getrlimit(resource).current {
            Some(limit) if limit < table => section.uncovered(
                "limit",
                format_args!("{name}: {limit} bytes: too little for a lock table"),
                "raise it, or make a smaller table beforehand (pagefence table create)",
            ),
            Some(limit) => section.note("limit", format_args!("{name}: {limit} bytes"), ""),
            None => {}
        }
    }
    if let Some(limit) = getrlimit(Resource::Memlock).current {
        section.note("limit", format_args!("locked memory (ulimit -l): {limit} bytes; counts only in programs that lock all of theirs (mlockall)"), "");
    }
    memory(section);
}

fn numbers(section: &mut Section) {
    let limit = getrlimit(Resource::Nofile);
    let show = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |n| n.to_string());
    let (soft, hard) = (
        limit.current.unwrap_or(u64::MAX),
        limit.maximum.unwrap_or(u64::MAX),
    );
    let (current, most) = (show(limit.current), show(limit.maximum));
    let text = format!("descriptor numbers (ulimit -n): {current}, at most {most}");
    match soft < hard && soft <= 8192 {
        true => section.covered(
            "numbers",
            format_args!("{text}: the library's own lie above the first and count against nothing"),
        ),
        false => section.note(
            "numbers",
            format_args!("{text}: the library's own take a few of the highest"),
            "a soft limit below the hard one, and of 8,192 at most, leaves all to the program",
        ),
    }
}

/// Where tables lie.
fn memory(section: &mut Section) {
    let room = match rustix::fs::statvfs(Path::new("/dev/shm")) {
        Ok(room) => room,
        Err(error) => {
            let line = format!("/dev/shm: {error}: tables lie in /run/user/<uid>");
            return section.note("memory", line, "");
        }
    };
    let mebibytes = |blocks: u64| (blocks * room.f_frsize) >> 20;
    let (free, all) = (mebibytes(room.f_bavail), mebibytes(room.f_blocks));
    let line = format!("/dev/shm: {free} of {all} MiB free");
    match free < 20 {
        true => section.note(
            "memory",
            format_args!("{line}: a new table takes up to 19 MiB"),
            "name a table elsewhere (PAGEFENCE_TABLE), or free space there",
        ),
        false => section.covered("memory", line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_whose_xfs_writes_whole_folios() {
        for (release, does) in [
            ("5.17.3", false),
            ("5.18.0-rc1", true),
            ("6.1.0-18-amd64", true),
            ("6.5", true),
            ("6.6.1", false),
            ("6.18.44", false),
        ] {
            assert_eq!(writes_whole_folios(release), does, "{release}");
        }
    }
}
