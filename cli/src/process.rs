//! A process that runs, as /proc shows it: what it was started with, what is mapped into it, whether it is fenced.

use kernel::errors;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lock_table::View;
use policy::environment as names;
use policy::{Policy, PolicyError};

use crate::exec::c_string;
use crate::failure::Failure;

/// What /proc says of it.
pub struct Process {
    pub number: u32,
    /// Of the user that it acts for.
    pub user: u32,
    /// Its executable's path, as it was.
    pub path: PathBuf,
    pub deleted: bool,
    /// Its environment as it was started.
    environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Files that are mapped into it, each once.
    pub mapped: Vec<PathBuf>,
    pub is_secure: bool,
    status: String,
}

/// Whether the library stands in a process, and whether it fences.
pub enum Fence<'a> {
    NotLoaded,
    /// The library is there, and no table.
    NoTable(&'a Path),
    /// Both are there, and the process is not in the table.
    NotInTable(&'a Path, &'a Path),
    Fenced(&'a Path, &'a Path),
}

impl Process {
    pub fn read(number: u32) -> Result<Process, Failure> {
        let at = |name: &str| format!("/proc/{number}/{name}");
        let absent = || Failure::of(&errors::NO_PROCESS, &[&number]);
        let user = std::fs::metadata(at("")).map_err(|_| absent())?.uid();
        let status = std::fs::read_to_string(at("status")).map_err(|_| absent())?;
        let denied = |error: std::io::Error| {
            let process = format_args!("process {number}");
            Failure::of(&errors::NOT_LOOKED_AT, &[&process, &error])
        };
        let path = std::fs::read_link(at("exe")).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::of(&errors::NO_PROGRAM, &[&number]),
            _ => denied(error),
        })?;
        let maps = std::fs::read(at("maps")).map_err(denied)?;
        let environment = std::fs::read(at("environ")).map_err(denied)?;
        let raw = path.into_os_string().into_vec();
        let alive = raw.strip_suffix(kernel::DELETED);
        let deleted = alive.is_some();
        let path = OsString::from_vec(alive.unwrap_or(&raw).to_vec()).into();
        Ok(Process {
            number,
            user,
            path,
            deleted,
            environment: variables(&environment),
            mapped: mapped(&maps),
            is_secure: is_secure(&std::fs::read(at("auxv")).unwrap_or_default()),
            status,
        })
    }

    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        let found = self
            .environment
            .iter()
            .find(|(key, _)| key == name.as_bytes());
        found
            .map(|(_, value)| value.as_slice())
            .filter(|value| !value.is_empty())
    }

    pub fn path_of(&self, name: &str) -> Option<PathBuf> {
        let value = self.variable(name)?;
        Some(PathBuf::from(OsStr::from_bytes(value)))
    }

    /// The policy that it was started with, as far as it is there now.
    pub fn policy(&self) -> Result<Policy, PolicyError> {
        match self.path_of(names::POLICY) {
            None => Policy::of_machine(&self.inside(Path::new("/"))),
            Some(path) if path.is_absolute() => Policy::load(&self.inside(&path)),
            // It meant the directory that it was started in.
            Some(path) => {
                let directory = format!("/proc/{}/cwd", self.number);
                Policy::load(&Path::new(&directory).join(path))
            }
        }
    }

    /// A line of its status.
    pub fn says(&self, key: &str) -> &str {
        says(&self.status, key)
    }

    /// By a way on which its own root and what is deleted don't matter.
    pub fn executable(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.number))
    }

    /// The file name of its executable: what rules name.
    pub fn program(&self) -> &[u8] {
        self.path.file_name().unwrap_or_default().as_bytes()
    }

    /// A path as it sees it: it may have another root.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let mut inside = OsString::from(format!("/proc/{}/root", self.number));
        inside.push(path);
        inside.into()
    }

    /// The one that makes its file calls for it (see `supervisor`): it holds a handle of each of its processes.
    pub fn supervisor(&self) -> Option<Process> {
        if self.says("Seccomp") != "2" {
            return None;
        }
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut supervisors = numbers.filter(|number| is_supervisor(*number));
        let its = supervisors.find(|number| handles_of(*number).contains(&self.number))?;
        Process::read(its).ok()
    }

    pub fn fence(&self) -> Fence<'_> {
        let is_library = |path: &&PathBuf| {
            path.file_name()
                .is_some_and(|name| name == "libpagefence.so")
        };
        let Some(library) = self.mapped.iter().find(is_library) else {
            return Fence::NotLoaded;
        };
        let table_at = |path: &Path| {
            let name = c_string(self.inside(path).as_os_str()).ok()?;
            View::open(&name).ok()
        };
        let mut all = self.mapped.iter();
        let Some((path, table)) = all.find_map(|path| Some((path, table_at(path)?))) else {
            return Fence::NoTable(library);
        };
        // By the number that it has in its own namespace.
        let own = self.says("NSpid").split_whitespace().next_back();
        let own = own.and_then(|n| n.parse().ok()).unwrap_or(self.number);
        let mut processes = table.snapshot().processes.into_iter();
        match processes.any(|p| p.alive && p.owner.pid == own) {
            true => Fence::Fenced(library, path),
            false => Fence::NotInTable(library, path),
        }
    }
}

/// What a supervisor calls itself, before the program's name.
pub const SUPERVISOR: &str = "fence:";

/// Whether a process is one: what it has open is open in the programs whose calls it makes.
pub fn is_supervisor(number: u32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
    name.starts_with(SUPERVISOR)
        && std::fs::read_link(format!("/proc/{number}/exe"))
            .is_ok_and(|path| path.file_name().is_some_and(|name| name == "pagefence"))
}

/// The processes of which a process holds handles (pidfd).
fn handles_of(number: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(format!("/proc/{number}/fdinfo")).into_iter();
    let texts = entries.flatten().flatten().filter_map(|entry| {
        // Few of them are handles, and only of those is more than the name read.
        let path = format!("/proc/{number}/fd/{}", entry.file_name().to_str()?);
        let link = std::fs::read_link(path).ok()?;
        let is_handle = link.as_os_str().as_bytes().ends_with(b"[pidfd]");
        is_handle.then(|| std::fs::read_to_string(entry.path()).ok())?
    });
    let pid = |text: String| says(&text, "Pid").parse().ok();
    texts.filter_map(pid).collect()
}

/// A line of what /proc has in lines of `KEY: words`; empty: there is none.
pub fn says<'a>(text: &'a str, key: &str) -> &'a str {
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    found.unwrap_or("").trim()
}

/// One that is a set of bits: signals, capabilities.
pub fn set_in(text: &str, key: &str) -> Option<u64> {
    u64::from_str_radix(says(text, key), 16).ok()
}

fn variables(bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |entry: &[u8]| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        Some((entry[..at].to_vec(), entry[at + 1..].to_vec()))
    };
    bytes.split(|byte| *byte == 0).filter_map(pair).collect()
}

fn mapped(maps: &[u8]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for line in maps.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b'/') else {
            continue;
        };
        let path = &line[at..];
        let path = path.strip_suffix(kernel::DELETED).unwrap_or(path);
        let path = lock_table::served_at(path).unwrap_or(path);
        let path = PathBuf::from(OsStr::from_bytes(path));
        if !all.contains(&path) {
            all.push(path);
        }
    }
    all
}

/// AT_SECURE: the loader has ignored LD_PRELOAD.
fn is_secure(auxv: &[u8]) -> bool {
    let word = |bytes: &[u8]| usize::from_ne_bytes(bytes.try_into().unwrap_or_default());
    let size = size_of::<usize>();
    let mut pairs = auxv
        .chunks_exact(2 * size)
        .map(|pair| (word(&pair[..size]), word(&pair[size..])));
    pairs.any(|(key, value)| key == libc::AT_SECURE as usize && value != 0)
}
