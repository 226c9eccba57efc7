//! A process that runs: whether it is fenced, by which table, and what it has open.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kernel::program::obstacle;
use lock_table::Table;
use policy::Policy;
use policy::environment as names;

use super::diagnosis::{Diagnosis, Section};
use super::libraries::{self, Closure};
use super::place::{self, Named};
use super::{files, machine, object, program};
use crate::exec::c_string;
use crate::failure::{Failure, OWN_FAILURE, USAGE};
use crate::{elf, library};

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
    mapped: Vec<PathBuf>,
    is_secure: bool,
    status: String,
}

impl Process {
    fn read(number: u32) -> Result<Process, Failure> {
        let at = |name: &str| format!("/proc/{number}/{name}");
        let absent = || {
            Failure::new(
                USAGE,
                format!("there is no process {number}"),
                "give the number that ps(1) shows; a program whose name is a number: ./NAME",
            )
        };
        let user = std::fs::metadata(at("")).map_err(|_| absent())?.uid();
        let status = std::fs::read_to_string(at("status")).map_err(|_| absent())?;
        let denied = |error: std::io::Error| {
            let message = format!("process {number} can't be looked at: {error}");
            Failure::new(OWN_FAILURE, message, "ask as its user, or as root")
        };
        let path = std::fs::read_link(at("exe")).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new(
                USAGE,
                format!(
                    "process {number} is no program: a thread of the kernel's, or it has ended"
                ),
                "",
            ),
            _ => denied(error),
        })?;
        let maps = std::fs::read(at("maps")).map_err(denied)?;
        let environment = std::fs::read(at("environ")).map_err(denied)?;
        let raw = path.into_os_string().into_vec();
        let alive = raw.strip_suffix(kernel::DELETED);
        let deleted = alive.is_some();
        let path = std::ffi::OsString::from_vec(alive.unwrap_or(&raw).to_vec()).into();
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

    fn variable(&self, name: &str) -> Option<&[u8]> {
        let found = self
            .environment
            .iter()
            .find(|(key, _)| key == name.as_bytes());
        found
            .map(|(_, value)| value.as_slice())
            .filter(|value| !value.is_empty())
    }

    fn path_of(&self, name: &str) -> Option<PathBuf> {
        let value = self.variable(name)?;
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(value)))
    }

    /// A line of its status.
    fn says(&self, key: &str) -> &str {
        let mut lines = self.status.lines();
        let found = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        found.unwrap_or("").trim()
    }

    /// By a way on which its own root and what is deleted don't matter.
    fn executable(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.number))
    }

    fn library(&self) -> Option<&Path> {
        let is_it = |path: &&PathBuf| {
            path.file_name()
                .is_some_and(|name| name == "libpagefence.so")
        };
        self.mapped.iter().find(is_it).map(PathBuf::as_path)
    }
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
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(path));
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

pub fn diagnose(number: u32, given: Option<Policy>) -> Result<Diagnosis, Failure> {
    let process = Process::read(number)?;
    let mut fence = Section::new("process");
    let policy = policy_of(&process, given, &mut fence);
    let shown = process.path.display();
    let note = if process.deleted {
        ", whose file is deleted or was replaced"
    } else {
        ""
    };
    fence.note("program", format_args!("it runs {shown}{note}"), "");
    let table = is_fenced(&process, &mut fence);
    if process.says("Seccomp") == "2" {
        fence.note(
            "sandbox",
            "it has put itself into a sandbox (seccomp), or was started in one",
            "what its filter leaves to the library is asked when it comes, and said if that is too little",
        );
    }
    let mut code = Section::new("what it does by itself");
    let closure = loaded(&process);
    program::inside(&mut code, &closure, &policy);
    code.findings
        .retain(|finding| finding.about != "dlopen" && finding.about != "missing-library");
    let mut surroundings = Section::new("table and policy");
    let table = table
        .unwrap_or_else(|| place::table_of(process.user, process.path_of(names::TABLE), &policy));
    place::examine(&mut surroundings, &table);
    let base = process.path.file_name().unwrap_or_default().as_bytes();
    place::rules(&mut surroundings, &policy, base);
    let mut surely = Section::new("machine");
    machine::what_is_missing(&mut surely);
    let mut data = Section::new("files");
    let open = files::of(number, base, &policy, &mut data);
    let target = format!("process {number} ({})", String::from_utf8_lossy(base));
    let sections = vec![fence, code, data, surroundings, surely];
    Ok(Diagnosis::new("process", target, sections, open))
}

/// The one that is given, or that it was started with.
fn policy_of(process: &Process, given: Option<Policy>, section: &mut Section) -> Policy {
    if let Some(policy) = given {
        return policy;
    }
    let Some(path) = process.path_of(names::POLICY) else {
        return Policy::built_in();
    };
    Policy::load(&path).unwrap_or_else(|error| {
        section.uncovered(
            "policy",
            format_args!("its policy can't be used: {error}"),
            "pagefence policy check FILE says what would be right",
        );
        Policy::built_in()
    })
}

/// Whether it is, and by which table; or why not.
fn is_fenced(process: &Process, section: &mut Section) -> Option<Named> {
    let Some(library) = process.library() else {
        why_not(process, section);
        return None;
    };
    let table = process
        .mapped
        .iter()
        .find(|path| path.exists() && is_table(path));
    let Some(table) = table else {
        section.uncovered(
            "fence",
            format_args!("the library ({}) is loaded, and in no lock table: every call passes through", library.display()),
            "what it said on standard error when it started says why (or the policy is mode = \"off\")",
        );
        return None;
    };
    let name = c_string(table.as_os_str()).ok()?;
    let joined = Table::inspect(&name).is_ok_and(|table| {
        let snapshot = table.snapshot();
        // By the number that it has in its own namespace.
        let own = process.says("NSpid").split_whitespace().next_back();
        let own = own.and_then(|n| n.parse().ok()).unwrap_or(process.number);
        snapshot
            .processes
            .iter()
            .any(|p| p.alive && p.owner.pid == own)
    });
    match joined {
        true => section.covered("fence", format_args!("it is fenced: the library is {}", library.display())),
        false => section.uncovered(
            "fence",
            format_args!("the library ({}) is loaded, and the process is not in the table {}", library.display(), table.display()),
            "it has stopped fencing, which it has said; or its number is another in its PID namespace",
        ),
    }
    Some(Named {
        path: table.clone(),
        by: "what it has mapped",
    })
}

fn is_table(path: &Path) -> bool {
    c_string(path.as_os_str()).is_ok_and(|name| Table::inspect(&name).is_ok())
}

fn why_not(process: &Process, section: &mut Section) {
    let preload = process.variable(library::PRELOAD).unwrap_or_default();
    let wanted = String::from_utf8_lossy(preload).contains("libpagefence.so");
    let file = std::fs::File::open(process.executable()).ok();
    let elf = file
        .as_ref()
        .and_then(|file| elf::read(file).ok().flatten());
    if let (Some(file), Some(elf)) = (&file, &elf) {
        use std::os::fd::AsRawFd;
        let facts = kernel::privilege::facts(file.as_raw_fd());
        let path = process.path.as_os_str().as_bytes();
        let obstacle = facts.and_then(|facts| obstacle(file.as_raw_fd(), &facts, elf, path));
        if let Some(obstacle) = obstacle.filter(|_| !process.is_secure) {
            return section.uncovered(
                program::word(&obstacle),
                format_args!("it is not fenced: {obstacle}"),
                obstacle.hint(),
            );
        }
    }
    let musl = process.mapped.iter().find(|path| {
        let name = path.file_name().unwrap_or_default().as_bytes();
        name.starts_with(b"ld-musl") || name.starts_with(b"libc.musl")
    });
    if let Some(libc) = musl {
        section.uncovered(
            "libc",
            format_args!(
                "it is not fenced: its libc is {}, and the library needs glibc",
                libc.display()
            ),
            "use a build of it for glibc",
        );
    } else if process.is_secure {
        section.uncovered("privilege", "it is not fenced: it gained privileges when it was started (AT_SECURE), and the loader ignored LD_PRELOAD", "start it as the user that it became");
    } else if wanted {
        section.uncovered(
            "fence",
            "it is not fenced, though LD_PRELOAD named the library: the loader could not load it",
            "look at what it said on standard error when it started",
        );
    } else {
        section.uncovered(
            "fence",
            "it is not fenced: it was started without LD_PRELOAD",
            "start it by pagefence run -- PROGRAM, or with LD_PRELOAD=/path/to/libpagefence.so",
        );
    }
}

/// What is mapped into it, read as far as it is code.
fn loaded(process: &Process) -> Closure {
    let mut closure = Closure {
        all: Vec::new(),
        missing: Vec::new(),
    };
    if let Ok(program) = object::read(&process.executable(), &process.path, true) {
        closure.all.push(program);
    }
    for path in process.mapped.iter().filter(|path| **path != process.path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.contains(".so") {
            continue;
        }
        // As it sees it: it may have another root.
        let inside = PathBuf::from(format!("/proc/{}/root{}", process.number, path.display()));
        if let Ok(library) = object::read(&inside, path, !libraries::is_libc(&name)) {
            closure.all.push(library);
        }
    }
    closure
}
