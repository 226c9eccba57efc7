//! What a process has open: which files, in which mode, and what the policy does with them.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use policy::{Escaped, Policy};

use super::diagnosis::{OpenFile, Section};
use crate::explain::{filesystem_of, ruling};

/// All, in the order of their numbers; and what is to be said of them.
pub fn of(process: u32, program: &[u8], policy: &Policy, section: &mut Section) -> Vec<OpenFile> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
        let hint = "ask as its user, or as root";
        section.note("files", "what it has open can't be seen", hint);
        return Vec::new();
    };
    let mut rings = 0;
    let mut all = Vec::new();
    for entry in entries.flatten() {
        let link = entry.path();
        let number = entry.file_name().to_str().and_then(|n| n.parse().ok());
        let (Some(number), Ok(path), Ok(found)) =
            (number, std::fs::read_link(&link), std::fs::metadata(&link))
        else {
            continue;
        };
        rings += usize::from(path.as_os_str() == "anon_inode:[io_uring]");
        let kind = found.file_type();
        if kind.is_file() || kind.is_block_device() {
            let flags = flags(process, number);
            let block = kind.is_block_device();
            let file = open(number, &link, &path, flags, program, policy, block);
            all.push(((found.dev(), found.ino()), file));
        }
    }
    all.sort_by_key(|(_, file)| file.number);
    if rings > 0 {
        section.uncovered(
            "io_uring",
            format_args!("it has {rings} io_uring rings: what goes through them is not seen"),
            "start it without io_uring (docs/limits.md: io_uring)",
        );
    }
    tell(section, &all);
    all.into_iter().map(|(_, file)| file).collect()
}

/// Files that are open in both modes, and those that are used directly past the policy.
fn tell(section: &mut Section, all: &[((u64, u64), OpenFile)]) {
    let mut modes: BTreeMap<(u64, u64), (u8, &str)> = BTreeMap::new();
    for (id, file) in all {
        let mode = if file.mode == "direct" { 2 } else { 1 };
        modes.entry(*id).or_insert((0, &file.path)).0 |= mode;
    }
    for (_, path) in modes.values().filter(|(mode, _)| *mode == 3) {
        let what = format!("{path} is open in both modes at once");
        section.note("mixed", what, "");
    }
    let left_out = |file: &OpenFile| file.mode == "direct" && file.fenced == "off";
    match all.iter().filter(|(_, file)| left_out(file)).count() {
        0 => {}
        n => section.note(
            "files",
            format_args!("{n} files are open directly, and the policy leaves them out"),
            "",
        ),
    }
}

/// Octal, in its fdinfo.
fn flags(process: u32, number: i32) -> i32 {
    let text =
        std::fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("flags:"));
    line.and_then(|octal| i32::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or(0)
}

fn open(
    number: i32,
    link: &Path,
    path: &Path,
    flags: i32,
    program: &[u8],
    policy: &Policy,
    block: bool,
) -> OpenFile {
    let filesystem = filesystem_of(link).unwrap_or("other");
    let said = ruling(
        policy,
        path.as_os_str().as_bytes(),
        program,
        filesystem,
        block,
    );
    OpenFile {
        number,
        path: Escaped(path.as_os_str().as_bytes()).to_string(),
        filesystem: filesystem.to_owned(),
        mode: if flags & libc::O_DIRECT != 0 {
            "direct"
        } else {
            "buffered"
        },
        writes: flags & libc::O_ACCMODE != libc::O_RDONLY,
        fenced: said.mode.word(),
        rule: said.by,
    }
}
