//! `pagefence attach`: watches the files that a process has open now, for whoever uses them, from outside.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use clap::Args;
use policy::Escaped;

use super::args::ScanArgs;
use super::{processes, scan};
use crate::failure::{Failure, USAGE};
use crate::process::Process;
use crate::say::tell;

pub const ATTACH_ABOUT: &str = "\
Watch the files that a process has open or mapped shared, and tell who uses them in which modes, as `pagefence scan --watch` \
does.

It only looks, from outside: nothing is loaded into the process, it isn't traced, stopped or fenced, and needn't be started \
anew. Files that it opens later are not watched: attach once more, or watch their directory (pagefence scan --watch).";

pub const ATTACH_MORE: &str = "\
EXAMPLES:
      pagefence attach $(pidof -s mariadbd)
      timeout -s INT 1h pagefence attach --json 4711 > changes.ndjson

EXIT CODES:
  Those of pagefence scan; 2 also where there is no such process, or it has no file open.

JSON: that of pagefence scan --watch";

#[derive(Args)]
pub struct AttachArgs {
    /// The number of the process
    #[arg(value_name = "PID")]
    pub process: u32,

    /// A line of JSON for each change
    #[arg(long)]
    pub json: bool,
}

pub fn attach(arguments: &AttachArgs) -> Result<i32, Failure> {
    let process = Process::read(arguments.process)?;
    let paths = files_of(&process);
    if paths.is_empty() {
        return Err(Failure::new(
            USAGE,
            format!("process {} has no file open", process.number),
            "pagefence scan --watch DIRECTORY tells who comes to open one",
        ));
    }
    let (count, name) = (paths.len(), Escaped(process.program()));
    let files = if count == 1 { "file" } else { "files" };
    tell(format_args!(
        "pagefence: watching {count} {files} of {name} ({}), and none that it opens later; Ctrl-C ends it",
        process.number
    ));
    scan(&ScanArgs {
        paths,
        watch: true,
        json: arguments.json,
    })
}

/// Regular files and block devices that can be found by their names: of a deleted one there is nobody else to come.
fn files_of(process: &Process) -> Vec<PathBuf> {
    let mut all = BTreeSet::new();
    let entries = fs::read_dir(format!("/proc/{}/fd", process.number)).into_iter();
    for entry in entries.flatten().flatten() {
        let (Ok(link), Ok(open)) = (fs::read_link(entry.path()), fs::metadata(entry.path())) else {
            continue;
        };
        let kind = open.file_type();
        if kind.is_file() || kind.is_block_device() {
            all.extend(named(process, &link, (open.dev(), open.ino())));
        }
    }
    for shared in processes::shared_by(process.number).unwrap_or_default() {
        let path = Path::new(OsStr::from_bytes(&shared.path));
        let of_link = format!("/proc/{}/map_files/{}", process.number, shared.link);
        if let Ok(open) = fs::metadata(of_link)
            && open.is_file()
        {
            all.extend(named(process, path, (open.dev(), open.ino())));
        }
    }
    all.into_iter().collect()
}

/// By its name here or, of a process with another root, there.
fn named(process: &Process, path: &Path, id: (u64, u64)) -> Option<PathBuf> {
    let places = [path.to_owned(), process.inside(path)];
    let is_it = |path: &PathBuf| fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == id);
    places.into_iter().find(is_it)
}
