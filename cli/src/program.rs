//! Finds the program that is to be run, and says beforehand why it can't be fenced.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags};

use crate::elf::{self, Elf};
use crate::failure::{Failure, NOT_EXECUTABLE, NOT_FOUND};
use crate::script::{self, EnvTarget};

/// A script's interpreter may be a script; the kernel follows five.
const MOST_INTERPRETERS: usize = 5;

/// Finds a program as execvp(3) does.
pub fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(problem) => Err(problem.failure(&path)),
        };
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
    Err(refused.unwrap_or_else(|| {
        Failure::new(
            NOT_FOUND,
            format!("{}: not found in PATH", name.display()),
            "give its path, or add its directory to PATH",
        )
    }))
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
        let path = path.display();
        match self {
            Problem::Missing => {
                Failure::new(NOT_FOUND, format!("{path}: no such file"), "check the path")
            }
            Problem::NotAFile => Failure::new(
                NOT_EXECUTABLE,
                format!("{path} can't be executed: it is not a regular file"),
                "",
            ),
            Problem::NotPermitted => Failure::new(
                NOT_EXECUTABLE,
                format!("{path} can't be executed: no permission"),
                format!("if it is a program: chmod +x {path}"),
            ),
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

/// Says why the library can't be loaded into a program; follows scripts to what runs them.
pub fn check(program: &Path) -> Result<(), Failure> {
    let mut path = program.to_owned();
    for _ in 0..=MOST_INTERPRETERS {
        let Ok(file) = File::open(&path) else {
            // Executable and unreadable: it can be run, but nobody can look.
            return Ok(());
        };
        if let Some(elf) = elf::read(&file).map_err(|error| broken(&path, &error))? {
            return check_elf(&path, &file, &elf);
        }
        path = match follow(&path, &file)? {
            Some(next) => next,
            None => return Ok(()),
        };
    }
    Err(Failure::new(
        NOT_EXECUTABLE,
        format!(
            "{}: too many interpreters of interpreters",
            program.display()
        ),
        "",
    ))
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
        failure.message = format!("{}: its interpreter: {}", path.display(), failure.message);
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
            "its #! line empties the environment (env -i), and LD_PRELOAD with it",
            "run its interpreter directly: pagefence run -- INTERPRETER SCRIPT",
        )),
    }
}

fn check_elf(path: &Path, file: &File, elf: &Elf) -> Result<(), Failure> {
    let own = elf::own_abi().map_err(|error| {
        Failure::own(format!("can't read /proc/self/exe: {error}"), "mount /proc")
    })?;
    if elf.abi != own {
        return Err(unfenceable(
            path,
            &format!("it is {}, and this pagefence is {own}", elf.abi),
            "use a pagefence that is built for that architecture",
        ));
    }
    match &elf.loader {
        Some(loader) => check_loader(path, loader)?,
        None if is_glibc_loader(path) => {}
        None => {
            return Err(unfenceable(
                path,
                "it is static, so no library can be preloaded into it",
                "use a dynamically linked build of it",
            ));
        }
    }
    check_privileges(path, file)
}

fn check_loader(path: &Path, loader: &[u8]) -> Result<(), Failure> {
    let loader = Path::new(OsStr::from_bytes(loader));
    if !is_glibc_loader(loader) {
        return Err(unfenceable(
            path,
            &format!(
                "its loader is {}, and the library needs glibc's",
                loader.display()
            ),
            "use a build of it for glibc (musl's own is another)",
        ));
    }
    if !loader.exists() {
        return Err(Failure::new(
            NOT_FOUND,
            format!(
                "{}: its loader {} is missing",
                path.display(),
                loader.display()
            ),
            "install the C library that it was built for",
        ));
    }
    Ok(())
}

fn is_glibc_loader(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name.starts_with(b"ld-linux") || matches!(name, b"ld.so.1" | b"ld64.so.1" | b"ld64.so.2")
}

/// A program that gains privileges runs with AT_SECURE, and glibc then ignores the preload.
fn check_privileges(path: &Path, file: &File) -> Result<(), Failure> {
    let Ok(metadata) = file.metadata() else {
        return Ok(());
    };
    let Some(privilege) = privilege(file, &metadata) else {
        return Ok(());
    };
    let gains_nothing = rustix::thread::no_new_privs().unwrap_or(false)
        || rustix::fs::fstatvfs(file)
            .is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOSUID));
    if gains_nothing {
        return Ok(());
    }
    Err(unfenceable(
        path,
        &format!("{privilege}, and the loader ignores LD_PRELOAD in such a program"),
        "run it as the user that it would become, or use a copy without the privilege",
    ))
}

/// What makes the kernel set AT_SECURE, if anything does.
fn privilege(file: &File, metadata: &Metadata) -> Option<String> {
    let user = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    let has = |bits: u32| metadata.mode() & bits == bits;
    if has(libc::S_ISUID) && metadata.uid() != user {
        Some(format!("it is setuid (to user {})", metadata.uid()))
    } else if has(libc::S_ISGID | libc::S_IXGRP) && metadata.gid() != group {
        Some(format!("it is setgid (to group {})", metadata.gid()))
    } else if user != 0 && has_capabilities(file) {
        // Root has the capabilities already, and so gains nothing.
        Some("it has file capabilities".to_owned())
    } else {
        None
    }
}

fn has_capabilities(file: &File) -> bool {
    let mut value = [0_u8; 64];
    match rustix::fs::fgetxattr(file, c"security.capability", &mut value[..]) {
        // A word of flags, then words of permitted and inheritable capabilities: any bit counts.
        Ok(length) => value[4.min(length)..length].iter().any(|byte| *byte != 0),
        Err(_) => false,
    }
}

fn unfenceable(path: &Path, reason: &str, advice: &str) -> Failure {
    Failure::own(
        format!("{} can't be fenced: {reason}", path.display()),
        advice,
    )
}

fn broken(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        NOT_EXECUTABLE,
        format!(
            "{} can't be executed: it is a broken ELF file: {error}",
            path.display()
        ),
        "",
    )
}
