//! A process that runs: whether it is fenced, by which table, and what it has open.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kernel::obstacle::obstacle;
use policy::environment as names;
use policy::{Escaped, Policy};

use super::diagnosis::{Diagnosis, Section};
use super::libraries::{self, Closure};
use super::place;
use super::{files, machine, object, program};
use crate::failure::Failure;
use crate::process::{Fence, Process};
use crate::say::Shown;
use crate::tables::place::{Named, table_of};
use crate::{elf, library};

pub fn diagnose(number: u32, given: Option<Policy>) -> Result<Diagnosis, Failure> {
    let process = Process::read(number)?;
    let mut fence = Section::new("process");
    let policy = policy_of(&process, given, &mut fence);
    let shown = process.path.shown();
    let note = if process.deleted {
        ", whose file is deleted or was replaced"
    } else {
        ""
    };
    fence.note("program", format_args!("it runs {shown}{note}"), "");
    let table = is_fenced(&process, &policy, &mut fence);
    if process.says("Seccomp") == "2" {
        fence.note(
            "sandbox",
            "it has put itself into a sandbox (seccomp), or was started in one",
            "what its filter leaves to the library is asked when it comes, and said if that is too little",
        );
    }
    let mut code = Section::new("what it does by itself");
    let closure = loaded(&process);
    let covers = fence.is_covered() && policy.covers_own_calls();
    program::inside(&mut code, &closure, &policy, covers);
    code.findings
        .retain(|finding| finding.about != "dlopen" && finding.about != "missing-library");
    let mut surroundings = Section::new("table and policy");
    let table =
        table.unwrap_or_else(|| table_of(process.user, process.path_of(names::TABLE), &policy));
    place::examine(&mut surroundings, &table);
    let base = process.program();
    place::rules(&mut surroundings, &policy, base);
    let mut surely = Section::new("machine");
    machine::what_is_missing(&mut surely);
    let mut data = Section::new("files");
    let open = files::of(number, base, &policy, &mut data);
    let target = format!("process {number} ({})", Escaped(base));
    let sections = vec![fence, code, data, surroundings, surely];
    Ok(Diagnosis::new("process", target, sections, open))
}

/// The one that is given, or that it was started with.
fn policy_of(process: &Process, given: Option<Policy>, section: &mut Section) -> Policy {
    if let Some(policy) = given {
        return policy;
    }
    process.policy().unwrap_or_else(|error| {
        section.uncovered(
            "policy",
            format_args!("its policy can't be used: {error}"),
            "pagefence policy check FILE says what would be right",
        );
        Policy::built_in()
    })
}

/// Whether it is, and by which table; or why not.
fn is_fenced(process: &Process, policy: &Policy, section: &mut Section) -> Option<Named> {
    if let Some(supervisor) = process.supervisor() {
        section.covered(
            "fence",
            format_args!(
                "it is fenced: its supervisor, process {}, makes its file calls, which costs microseconds each",
                supervisor.number
            ),
        );
        return match supervisor.fence() {
            Fence::Fenced(_, table) => Some(mapped_at(table)),
            _ => None,
        };
    }
    let table = match process.fence() {
        Fence::NotLoaded => {
            why_not(process, policy, section);
            return None;
        }
        Fence::NoTable(library) => {
            section.uncovered(
                "fence",
                format_args!(
                    "the library ({}) is loaded, and in no lock table: it has used no file yet that is fenced, or every call passes through",
                    library.shown()
                ),
                "what it said on standard error says which (or the policy is mode = \"off\")",
            );
            return None;
        }
        Fence::NotInTable(library, table) => {
            section.uncovered(
                "fence",
                format_args!("the library ({}) is loaded, and the process is not in the table {}", library.shown(), table.shown()),
                "it has stopped fencing, which it has said; or its number is another in its PID namespace",
            );
            table
        }
        Fence::Fenced(library, table) => {
            section.covered(
                "fence",
                format_args!("it is fenced: the library is {}", library.shown()),
            );
            table
        }
    };
    Some(mapped_at(table))
}

fn mapped_at(table: &Path) -> Named {
    Named {
        path: table.to_owned(),
        by: "what it has mapped",
    }
}

fn why_not(process: &Process, policy: &Policy, section: &mut Section) {
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
        let (fd, covers) = (file.as_raw_fd(), policy.covers_own_calls());
        let obstacle = facts.and_then(|facts| obstacle(fd, &facts, elf, path, covers));
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
                libc.shown()
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
        let inside = process.inside(path);
        if let Ok(library) = object::read(&inside, path, !libraries::is_libc(&name)) {
            closure.all.push(library);
        }
    }
    closure
}
