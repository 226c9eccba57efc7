//! Every process, and what of what is looked for it has open or mapped. Processes come and go meanwhile: one that has gone
//! is none, and one that may not be looked at is said.

use std::cell::OnceCell;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;
use serde::Serialize;

use crate::process::is_supervisor;

use super::maps::Line;
use super::seen::{self, Id, Seen};
use super::target::{Candidate, Targets, namespace};

/// One descriptor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Descriptor {
    pub number: i32,
    pub direct: bool,
    pub reads: bool,
    pub writes: bool,
}

/// One mapping.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Mapping {
    pub address: String,
    pub shared: bool,
    /// Now: mprotect may change that.
    pub writable: bool,
    /// Of its pages, those that the process has touched.
    pub touched_kib: Option<u64>,
    /// Those of them that are dirty: written since they were last written back, by stores here or by anybody's write, and
    /// counted in whole folios. Who stored can't be told without entering the process: PAGEMAP_SCAN's PAGE_IS_WRITTEN says
    /// "written" of every page that the process itself hasn't write-protected (userfaultfd).
    pub dirty_kib: Option<u64>,
}

/// A file in the hands of a process.
pub struct Hold {
    pub id: Id,
    /// As the process's namespace has it.
    pub path: Vec<u8>,
    /// A link that leads to the file, whatever its path is worth here.
    pub link: String,
    /// The kernel's number of the mount; 0: not known.
    pub mount: u64,
    pub how: How,
}

pub enum How {
    Open(Descriptor),
    Mapped(Mapping),
}

/// Why there is no answer for a process.
pub enum Gone {
    Ended,
    Denied,
}

impl From<Errno> for Gone {
    fn from(error: Errno) -> Gone {
        match error {
            Errno::ACCESS | Errno::PERM => Gone::Denied,
            _ => Gone::Ended,
        }
    }
}

/// The numbers of all processes, without those that use files for others.
pub fn all() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut all: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| !is_supervisor(*number))
        .collect();
    all.sort_unstable();
    all
}

/// What one of them has open or mapped.
pub fn holds_of(process: u32, targets: &mut Targets) -> Result<Vec<Hold>, Gone> {
    let mut look = Look {
        process,
        namespace: match targets.asks_for_places() {
            true => namespace(&process.to_string()),
            false => 0,
        },
        targets,
        holds: Vec::new(),
    };
    look.descriptors()?;
    look.mappings()?;
    Ok(look.holds)
}

/// Its descriptors of one file, and nothing else: what is quickest.
pub fn glimpse_of(process: u32, id: Id) -> Vec<Hold> {
    let mut targets = Targets::of([id]);
    let mut look = Look {
        process,
        namespace: 0,
        targets: &mut targets,
        holds: Vec::new(),
    };
    // It may be gone: what was seen before was seen.
    let _ = look.descriptors();
    look.holds
}

/// A file that a process has mapped shared.
pub struct Shared {
    pub id: Id,
    /// As the process's namespace has it.
    pub path: Vec<u8>,
    /// In `map_files`.
    pub link: String,
    /// By this mapping nothing can be read or written.
    pub without_rights: bool,
}

/// What a process has mapped shared.
pub fn shared_by(process: u32) -> Result<Vec<Shared>, Gone> {
    let look = Look {
        process,
        namespace: 0,
        targets: &mut Targets::of([]),
        holds: Vec::new(),
    };
    let maps = std::fs::read(look.at("maps")).map_err(errno)?;
    let lines = maps.split(|byte| *byte == b'\n').filter_map(Line::parse);
    let mut lines = lines
        .filter(|line| line.rights.get(3) == Some(&b's'))
        .peekable();
    if lines.peek().is_none() {
        return Ok(Vec::new());
    }
    let files = look.directory("map_files")?;
    let found = lines.filter_map(|line| {
        Some(Shared {
            id: look.seen_by(&files, &line)?.id,
            path: line.path.to_vec(),
            link: line.link(),
            without_rights: line.rights.starts_with(b"---"),
        })
    });
    Ok(found.collect())
}

struct Look<'a> {
    process: u32,
    namespace: u64,
    targets: &'a mut Targets,
    holds: Vec<Hold>,
}

impl Look<'_> {
    fn at(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.process)
    }

    fn directory(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, self.at(name), flags, Mode::empty())
    }

    fn is_meant(&mut self, seen: Seen, path: &dyn Fn() -> Option<Vec<u8>>) -> bool {
        let (namespace, process) = (self.namespace, self.process);
        self.targets.contains(&Candidate {
            seen,
            namespace,
            process,
            path,
        })
    }

    fn descriptors(&mut self) -> Result<(), Gone> {
        let directory = self.directory("fd")?;
        let mut buffer = [MaybeUninit::uninit(); 16384];
        let mut entries = RawDir::new(&directory, &mut buffer);
        let mut infos = None;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let Some(number) = name.to_str().ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // The list may be seen of a process whose descriptors may not.
            let seen = match seen::at(&directory, name) {
                Ok(Some(seen)) => seen,
                Err(Errno::ACCESS) => return Err(Gone::Denied),
                _ => continue,
            };
            // Asked once: there may be tens of thousands.
            let known = OnceCell::new();
            let path = || known.get_or_init(|| link(&directory, name)).clone();
            if !self.is_meant(seen, &path) {
                continue;
            }
            if infos.is_none() {
                infos = self.directory("fdinfo").ok();
            }
            // Closed in between.
            let (Some(path), Some(info)) = (path(), Info::of(infos.as_ref(), name)) else {
                continue;
            };
            // By now another file's. (The inode that fdinfo tells isn't `stat`'s on every filesystem.)
            let is_same = (info.mount, info.inode) == (seen.mount, seen.id.inode);
            if !is_same && !matches!(seen::at(&directory, name), Ok(Some(now)) if now.id == seen.id)
            {
                continue;
            }
            let Some(descriptor) = info.descriptor(number) else {
                continue;
            };
            self.holds.push(Hold {
                id: seen.id,
                path,
                link: self.at(&format!("fd/{number}")),
                mount: seen.mount,
                how: How::Open(descriptor),
            });
        }
        Ok(())
    }

    fn mappings(&mut self) -> Result<(), Gone> {
        let maps = std::fs::read(self.at("maps")).map_err(errno)?;
        // Only where there are mappings: a thread of the kernel's has none.
        let mut directory = None;
        let mut last: Option<(&[u8], Option<Seen>)> = None;
        for line in maps.split(|byte| *byte == b'\n').filter_map(Line::parse) {
            if directory.is_none() {
                directory = Some(self.directory("map_files")?);
            }
            let Some(files) = &directory else { break };
            let seen = match last {
                Some((file, seen)) if file == line.file => seen,
                _ => self.seen_by(files, &line),
            };
            last = Some((line.file, seen));
            let path = || Some(line.path.to_vec());
            if seen.is_none_or(|seen| !self.is_meant(seen, &path)) {
                continue;
            }
            let Some(seen) = seen else { continue };
            self.holds.push(Hold {
                id: seen.id,
                path: line.path.to_vec(),
                link: self.at(&format!("map_files/{}", line.link())),
                mount: seen.mount,
                how: How::Mapped(line.mapping()),
            });
        }
        self.count_pages();
        Ok(())
    }

    /// The kernel follows the link for privileged users only. For others the path leads to the file, if it still does: the
    /// inode says so; else what stands in the line.
    fn seen_by(&self, files: &OwnedFd, line: &Line) -> Option<Seen> {
        match seen::at(files, line.link()) {
            Ok(seen) => return seen,
            Err(Errno::PERM) => {}
            Err(_) => return None,
        }
        let path = [self.at("root").as_bytes(), line.path].concat();
        let by_path = seen::at(CWD, OsStr::from_bytes(&path)).ok().flatten();
        by_path
            .filter(|seen| seen.id.is_device || seen.id.inode == line.inode)
            .or(Some(Seen {
                id: Id {
                    is_device: false,
                    device: line.device,
                    inode: line.inode,
                },
                mount: 0,
                links: 1,
            }))
    }

    /// What smaps says of the mappings that were found.
    fn count_pages(&mut self) {
        let mut found = self
            .holds
            .iter_mut()
            .filter_map(|hold| match &mut hold.how {
                How::Mapped(mapping) if mapping.shared => Some(mapping),
                _ => None,
            })
            .peekable();
        if found.peek().is_none() {
            return;
        }
        let smaps = std::fs::read(format!("/proc/{}/smaps", self.process)).unwrap_or_default();
        let smaps = String::from_utf8_lossy(&smaps);
        let mut lines = smaps.lines().peekable();
        for mapping in found {
            if !lines
                .by_ref()
                .any(|line| line.split(' ').next() == Some(&mapping.address))
            {
                return;
            }
            // Until the next one begins, which has an address and no colon behind its first word.
            while let Some(line) = lines.next_if(|line| {
                line.split(' ')
                    .next()
                    .is_some_and(|word| word.ends_with(':'))
            }) {
                let kib = || {
                    line.split_whitespace()
                        .nth(1)
                        .and_then(|n| n.parse::<u64>().ok())
                };
                match line.split(':').next() {
                    Some("Rss") => mapping.touched_kib = kib(),
                    Some("Shared_Dirty" | "Private_Dirty") => {
                        mapping.dirty_kib =
                            Some(mapping.dirty_kib.unwrap_or(0) + kib().unwrap_or(0));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// What fdinfo says of a descriptor.
struct Info {
    flags: i32,
    mount: u64,
    inode: u64,
}

impl Info {
    /// None: it has gone.
    fn of(infos: Option<&OwnedFd>, name: &CStr) -> Option<Info> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(infos?, name, flags, Mode::empty()).ok()?;
        // What is asked for stands first; locks, watches and the like may follow.
        let mut buffer = [0; 256];
        let length = rustix::io::read(&file, &mut buffer).ok()?;
        let text = str::from_utf8(buffer.get(..length)?).ok()?;
        let word = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key));
            found.map(str::trim)
        };
        let number = |key: &str| word(key).and_then(|word| word.parse().ok());
        Some(Info {
            flags: i32::from_str_radix(word("flags:")?, 8).ok()?,
            mount: number("mnt_id:").unwrap_or(0),
            // Since Linux 5.14.
            inode: number("ino:").unwrap_or(0),
        })
    }

    /// None: nothing is read or written through it (O_PATH).
    fn descriptor(&self, number: i32) -> Option<Descriptor> {
        let way = self.flags & libc::O_ACCMODE;
        (self.flags & libc::O_PATH == 0).then_some(Descriptor {
            number,
            direct: self.flags & libc::O_DIRECT != 0,
            reads: way != libc::O_WRONLY,
            writes: way != libc::O_RDONLY,
        })
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn link(directory: &OwnedFd, name: &std::ffi::CStr) -> Option<Vec<u8>> {
    let path = rustix::fs::readlinkat(directory, name, Vec::new()).ok()?;
    Some(path.into_bytes())
}
