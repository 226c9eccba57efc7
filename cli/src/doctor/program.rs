//! A program's file: what of it the library would see, if this user started it.

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kernel::obstacle::{Obstacle, obstacle};
use kernel::privilege;
use policy::Policy;

use super::diagnosis::{Diagnosis, Section, State};
use super::libraries::{self, Closure};
use super::object::Loaded;
use super::{machine, names, place};
use crate::failure::{Failure, OWN_FAILURE, USAGE};
use crate::program::{self, Followed};
use crate::say::Shown;
use crate::supervisor::is_possible;
use crate::{library, tables};

const SUPERVISOR: &str = "supervisor";

pub fn diagnose(name: &OsStr, policy: &Policy) -> Result<Diagnosis, Failure> {
    let not_there = |failure: Failure| Failure {
        code: USAGE,
        ..failure
    };
    let path = program::find(name).map_err(not_there)?;
    let mut file = Section::new("program");
    let followed = program::follow_to_elf(&path);
    let run = match &followed {
        Ok(Some(followed)) => followed.path.clone(),
        Ok(None) => path.clone(),
        Err(failure) => {
            file.uncovered("program", &failure.message, &failure.advice);
            path.clone()
        }
    };
    let mut code = Section::new("what it does by itself");
    match &followed {
        Ok(Some(followed)) => {
            enters(&mut file, &path, followed, policy)?;
            // A supervisor has all calls, however they are made.
            if !file.findings.iter().any(|f| f.about == SUPERVISOR) {
                of_its_own(&mut code, &followed.path, &file, policy);
            }
        }
        Ok(None) => file.uncovered(
            "unreadable",
            format_args!("{} can be run and not read", run.shown()),
            "look at it as a user who may read it",
        ),
        Err(_) => {}
    }
    let mut surroundings = Section::new("table and policy");
    let user = rustix::process::geteuid().as_raw();
    place::examine(
        &mut surroundings,
        &tables::place::table_of(user, tables::place::variable(), policy),
    );
    let base = run.file_name().unwrap_or_default().as_bytes();
    place::rules(&mut surroundings, policy, base);
    let mut machine = Section::new("machine");
    machine::what_is_missing(&mut machine);
    let sections = vec![file, code, surroundings, machine];
    Ok(Diagnosis::new(
        "program",
        path.shown().to_string(),
        sections,
        Vec::new(),
    ))
}

/// What stands in its code, and in that of its libraries.
fn of_its_own(section: &mut Section, path: &Path, file: &Section, policy: &Policy) {
    match libraries::closure(path) {
        Ok(closure) => {
            let covers = file.is_covered() && policy.covers_own_calls();
            inside(section, &closure, policy, covers);
        }
        Err(error) => section.note("code", format_args!("its code can't be read: {error}"), ""),
    }
    // Where nothing is seen, its calls are no reason of their own.
    if !file.is_covered() {
        let calls = section.findings.iter_mut();
        calls
            .filter(|f| f.about == "raw-calls")
            .for_each(|f| f.state = State::Note);
    }
}

/// Whether the library comes in.
fn enters(
    section: &mut Section,
    asked: &Path,
    followed: &Followed,
    policy: &Policy,
) -> Result<(), Failure> {
    let path = &followed.path;
    if asked != path {
        section.note("script", format_args!("it is run by {}", path.shown()), "");
    }
    let unlooked = || {
        Failure::new(
            OWN_FAILURE,
            format!("{} can't be looked at", path.shown()),
            "",
        )
    };
    let facts = privilege::facts(followed.file.as_raw_fd()).ok_or_else(unlooked)?;
    let fd = followed.file.as_raw_fd();
    let (name, covers) = (path.as_os_str().as_bytes(), policy.covers_own_calls());
    match obstacle(fd, &facts, &followed.elf, name, covers) {
        Some(obstacle) if obstacle.keeps_only_preloads_out() && is_possible().is_ok() => {
            section.covered(
                SUPERVISOR,
                format_args!(
                    "{obstacle}, so no preload can fence it: a supervisor makes its file calls, which costs microseconds each"
                ),
            );
        }
        Some(obstacle) => section.uncovered(word(&obstacle), obstacle, obstacle.hint()),
        None => loaded_by(section, followed),
    }
    match library::find() {
        Ok(library) => section.covered(
            "library",
            format_args!("the library is {}", library.shown()),
        ),
        Err(failure) => section.uncovered("library", failure.message, failure.advice),
    }
    libraries::preloads(section);
    Ok(())
}

/// By glibc's loader, if that is there.
fn loaded_by(section: &mut Section, followed: &Followed) {
    let named = followed.elf.loader();
    let named = named.map(|name| Path::new(OsStr::from_bytes(name)));
    let loader = named.unwrap_or(&followed.path);
    match loader.exists() {
        true => section.covered(
            "loader",
            format_args!(
                "it is dynamic, and its loader is glibc's {}",
                loader.shown()
            ),
        ),
        false => section.uncovered(
            "loader",
            format_args!("its loader {} is missing", loader.shown()),
            "install the C library that it was built for",
        ),
    }
}

pub fn word(obstacle: &Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Abi(_) => "architecture",
        Obstacle::Static => "static",
        Obstacle::Loader(_) => "loader",
        Obstacle::Privilege(_) => "privilege",
        Obstacle::Go => "go",
    }
}

/// What the program and its libraries do past the names that the library watches. `covers`: that is seen, too, where it can be.
pub fn inside(section: &mut Section, closure: &Closure, policy: &Policy, covers: bool) {
    for name in &closure.missing {
        section.note(
            "missing-library",
            format_args!("it needs {name}, which is not found"),
            "",
        );
    }
    let own: Vec<&Loaded> = closure
        .all
        .iter()
        .filter(|l| !libraries::is_libc(&l.name()))
        .collect();
    rings(section, &own, policy);
    for loaded in &own {
        raw_calls(section, loaded, covers);
        sanitizers(section, loaded);
    }
    if let Some(program) = closure.all.first() {
        names_of_its_own(section, program);
    }
    let later = own
        .iter()
        .find(|l| !l.imports_any(["dlopen", "dlmopen"]).is_empty());
    if let Some(loaded) = later {
        section.note(
            "dlopen",
            format_args!(
                "{} loads libraries while it runs, which are not seen here",
                loaded.name()
            ),
            "ask again of the running process: pagefence doctor PID",
        );
    }
    for loaded in own.iter().filter(|l| l.imports.contains("dlmopen")) {
        section.note(
            "dlmopen",
            format_args!("{} may load libraries into a namespace of their own (dlmopen), where the library sees nothing", loaded.name()),
            "that is said when it happens (`uncovered`)",
        );
    }
    if section.findings.is_empty() {
        section.covered(
            "calls",
            format_args!(
                "its code and that of its {} libraries makes no system calls on files past libc",
                closure.all.len() - 1
            ),
        );
    }
}

const RINGS: [&str; 6] = [
    "io_uring_queue_init",
    "io_uring_queue_init_params",
    "io_uring_queue_init_mem",
    "io_uring_setup",
    "io_uring_queue_mmap",
    "io_uring_get_probe",
];

fn rings(section: &mut Section, own: &[&Loaded], policy: &Policy) {
    let setup = libc::SYS_io_uring_setup as u32;
    let mut users: Vec<String> = Vec::new();
    for loaded in own {
        let by_name = !loaded.imports_any(RINGS).is_empty();
        let by_site =
            loaded.calls.numbers.contains_key(&setup) && !loaded.name().starts_with("liburing");
        let by_number = loaded.calls.gives_setup && !loaded.imports_any(["syscall"]).is_empty();
        let ways = [
            (by_name, "liburing"),
            (by_site, "calls of its own"),
            (by_number, "syscall"),
        ];
        if let Some((_, way)) = ways.iter().find(|(is, _)| *is) {
            users.push(format!("{} ({way})", loaded.name()));
        }
    }
    if users.is_empty() {
        return;
    }
    let what = format!("io_uring can be asked for by {}", users.join(", "));
    match policy.defaults().io_uring {
        refused if refused.refuses() && policy.enforces() => section.note(
            "io_uring",
            format_args!("{what}: it is refused (ENOSYS), and said"),
            format_args!(
                "a program that can't do without it says so: {}",
                kernel::errors::IO_URING.todo
            ),
        ),
        _ => section.uncovered(
            "io_uring",
            format_args!("{what}, and the policy allows it"),
            "write io_uring = \"refuse\" under [defaults]",
        ),
    }
}

/// System calls on files that stand in its code.
fn raw_calls(section: &mut Section, loaded: &Loaded, covers: bool) {
    let name = loaded.name();
    // Its functions come in by their names.
    let known = name.starts_with("libaio.so") || name.starts_with("liburing");
    if known {
        return;
    }
    let rings = ["io_uring_setup", "io_uring_enter", "io_uring_register"];
    let mut calls: Vec<&str> = loaded
        .calls
        .numbers
        .keys()
        .filter_map(|n| names::of_files(*n))
        .collect();
    calls.retain(|call| !rings.contains(call));
    let what = format!(
        "{name} makes system calls on files without libc: {}",
        calls.join(", ")
    );
    match calls.is_empty() {
        true => {}
        false if covers => section.note(
            "raw-calls",
            format_args!("{what}; the policy has them covered (coverage = \"syscalls\")"),
            "what of its code can't be read or changed is said when it starts (`uncovered`)",
        ),
        false => section.uncovered(
            "raw-calls",
            what,
            "what these do is not fenced: keep it away from files that are used directly, or write coverage = \"syscalls\" under [defaults]",
        ),
    }
    if loaded.calls.unknown > 0 {
        section.note(
            "raw-calls",
            format_args!(
                "{name} makes {} system calls whose number is calculated while it runs",
                loaded.calls.unknown
            ),
            "whether these use files can't be seen in its code",
        );
    }
    if loaded.calls.unread {
        section.note(
            "raw-calls",
            format_args!(
                "{name}: its code was not read for system calls: that works on x86-64 only"
            ),
            "",
        );
    }
}

fn sanitizers(section: &mut Section, loaded: &Loaded) {
    let has = |name: &str| loaded.exports.contains(name) || loaded.imports.contains(name);
    if has("__asan_init") && loaded.exports.contains("__asan_default_options") {
        section.uncovered(
            "sanitizer",
            format_args!(
                "{} is linked with AddressSanitizer and has options of its own",
                loaded.name()
            ),
            "start it with ASAN_OPTIONS=verify_asan_link_order=0",
        );
    } else if has("__asan_init") {
        section.note(
            "sanitizer",
            format_args!(
                "{} is linked with AddressSanitizer: it runs as it is",
                loaded.name()
            ),
            "",
        );
    }
    if loaded.exports.contains("__lsan_init") && !has("__asan_init") {
        section.uncovered(
            "sanitizer",
            format_args!(
                "{} has LeakSanitizer linked into it, which doesn't let anything be preloaded",
                loaded.name()
            ),
            "link it dynamically",
        );
    }
}

/// A program's own function comes before everybody's: calls of that name don't reach the library.
fn names_of_its_own(section: &mut Section, program: &Loaded) {
    let Some(ours) = library::find().ok().and_then(|path| exports(&path)) else {
        return;
    };
    let mut own: Vec<&String> = program
        .exports
        .iter()
        .filter(|name| ours.exports.contains(*name))
        .collect();
    own.retain(|name| !name.starts_with("__") && !name.starts_with("_IO"));
    if !own.is_empty() {
        let own: Vec<&str> = own.iter().map(|name| name.as_str()).collect();
        section.uncovered(
            "own-names",
            format_args!("it has functions of its own called {}: its calls of these names don't come to the library", own.join(", ")),
            "build it without them",
        );
    }
}

fn exports(path: &Path) -> Option<Loaded> {
    super::object::read(path, path, false).ok()
}
