//! Finds the program that is to be run, and says beforehand why it can't be fenced.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kernel::errors;
use kernel::obstacle::{Obstacle, obstacle};
use kernel::privilege;
use kernel::program::MOST_INTERPRETERS;
use policy::Policy;
use rustix::fs::{Access, AtFlags, CWD};

use crate::args::Supervise;
use crate::elf::{self, Elf};
use crate::failure::Failure;
use crate::say;
use crate::say::Shown;
use crate::script::{self, EnvTarget};

/// Finds a program as execvp(3) does.
pub fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(problem) => Err(problem.failure(&path)),
        };
    }
    // In every directory there is one of these names, and none is a program.
    match name.as_bytes() {
        [] => {
            return Err(Failure::of(&errors::EMPTY_NAME, &[]));
        }
        b"." | b".." => return Err(Problem::NotAFile.failure(Path::new(name))),
        _ => {}
    }
    let mut refused = None;
    for directory in search_path() {
        let path = directory.join(name);
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(Problem::Missing) => {}
            Err(problem) => refused = refused.or(Some(problem.failure(&path))),
        }
    }
    Err(refused.unwrap_or_else(|| Failure::of(&errors::NOT_IN_PATH, &[&name.shown()])))
}

fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|directory| match directory {
            [] => PathBuf::from("."),
            directory => PathBuf::from(OsString::from_vec(directory.to_vec())),
        })
        .collect()
}

/// Why a file is not one that execve(2) would take.
enum Problem {
    Missing,
    NotAFile,
    NotPermitted,
}

impl Problem {
    fn failure(&self, path: &Path) -> Failure {
        let path = path.shown();
        match self {
            Problem::Missing => Failure::of(&errors::NO_SUCH_FILE, &[&path]),
            Problem::NotAFile => Failure::of(&errors::NOT_A_FILE, &[&path]),
            Problem::NotPermitted => Failure::of(&errors::NOT_PERMITTED, &[&path]),
        }
    }
}

fn executable(path: &Path) -> Result<(), Problem> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(Problem::NotPermitted);
        }
        Err(_) => return Err(Problem::Missing),
    };
    if !metadata.is_file() {
        return Err(Problem::NotAFile);
    }
    // With the effective ids, as execve asks.
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|_| Problem::NotPermitted)
}

/// An ELF file that a program comes to.
pub struct Followed {
    pub path: PathBuf,
    pub file: File,
    pub elf: Elf,
}

/// Follows scripts to what runs them. None: that can't be told.
pub fn follow_to_elf(program: &Path) -> Result<Option<Followed>, Failure> {
    let mut path = program.to_owned();
    for _ in 0..=MOST_INTERPRETERS {
        let Ok(file) = File::open(&path) else {
            // Executable and unreadable: it can be run, but nobody can look.
            return Ok(None);
        };
        if let Some(elf) = elf::read(&file).map_err(|error| broken(&path, &error))? {
            return Ok(Some(Followed { path, file, elf }));
        }
        path = match follow(&path, &file)? {
            Some(next) => next,
            None => return Ok(None),
        };
    }
    Err(Failure::of(&errors::INTERPRETERS, &[&program.shown()]))
}

/// How a program comes behind the fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Preloaded,
    /// No preload can enter it, or not where it makes its calls.
    Supervised,
}

/// How a program can be fenced, or why it can't. `supervise`: whether those that no preload can enter get a supervisor.
pub fn way(program: &Path, policy: &Policy, supervise: Supervise) -> Result<Way, Failure> {
    match follow_to_elf(program)? {
        Some(followed) => way_of(&followed, policy, supervise),
        None => Ok(Way::Preloaded),
    }
}

/// What runs a file that is no ELF file; none where that can't be told.
fn follow(path: &Path, file: &File) -> Result<Option<PathBuf>, Failure> {
    let mut start = [0; script::LINE_MAX];
    let length = file.read_at(&mut start, 0).unwrap_or(0);
    let Some(interpreter) = script::interpreter(&start[..length]) else {
        // execvp(3) gives what the kernel doesn't know to the shell.
        return Ok(Some(PathBuf::from("/bin/sh")));
    };
    let of_script = |mut failure: Failure| {
        failure.message = format!("{}: its interpreter: {}", path.shown(), failure.message);
        failure
    };
    executable(&interpreter.path)
        .map_err(|problem| of_script(problem.failure(&interpreter.path)))?;
    match script::env_target(&interpreter) {
        None => Ok(Some(interpreter.path)),
        Some(EnvTarget::Program(name)) => find(&name).map(Some).map_err(of_script),
        Some(EnvTarget::Unknown) => Ok(None),
        Some(EnvTarget::Emptied) => Err(unfenceable(
            path,
            errors::EMPTIED.what,
            errors::EMPTIED.todo,
        )),
    }
}

fn way_of(followed: &Followed, policy: &Policy, supervise: Supervise) -> Result<Way, Failure> {
    let Followed { path, file, elf } = followed;
    let facts = privilege::facts(file.as_raw_fd());
    let facts = facts.ok_or_else(|| Failure::own(format!("can't stat {}", path.shown()), ""))?;
    let name = path.as_os_str().as_bytes();
    let covers = policy.covers_own_calls();
    match obstacle(file.as_raw_fd(), &facts, elf, name, covers) {
        Some(it) if it.keeps_only_preloads_out() && supervise != Supervise::Never => {
            return Ok(Way::Supervised);
        }
        // It can be loaded there, and sees a part.
        Some(it @ Obstacle::Go) => say::tell(format_args!(
            "pagefence: {}: {it}: what it does so is not fenced\n  {}",
            path.shown(),
            it.hint()
        )),
        Some(it) => return Err(unfenceable(path, &it.to_string(), it.hint())),
        None => {}
    }
    match elf.loader().map(|name| Path::new(OsStr::from_bytes(name))) {
        Some(loader) if !loader.exists() => Err(Failure::of(
            &errors::LOADER_MISSING,
            &[&path.shown(), &loader.shown()],
        )),
        _ if supervise == Supervise::Always => Ok(Way::Supervised),
        _ => Ok(Way::Preloaded),
    }
}

fn unfenceable(path: &Path, reason: &str, advice: &str) -> Failure {
    Failure::own(
        format!("{} can't be fenced: {reason}", path.shown()),
        advice,
    )
}

fn broken(path: &Path, error: &std::io::Error) -> Failure {
    Failure::of(&errors::BROKEN, &[&path.shown(), error])
}
