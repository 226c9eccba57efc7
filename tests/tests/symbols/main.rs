//! Is every door hooked? The library's own table (`shim/src/table.rs`) is compared with what libc, liburing, libaio and the
//! kernel have. What has no hook has a reason in `unhooked.toml`.

mod behind;
#[cfg(target_arch = "x86_64")]
mod inside;

use pagefence_tests::covered::{self, Call};
use pagefence_tests::exports::{number, versions};
use pagefence_tests::fence::found;
use pagefence_tests::reasons::{Names, names as reasons, newer, unhooked, words};
use pagefence_tests::{artefacts, skip};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

fn exported(path: &Path) -> Names {
    versions(path).into_keys().collect()
}

/// What a library beside libc exports; none if it isn't installed.
fn exported_by(library: &str) -> Option<Names> {
    let path = artefacts::libc().with_file_name(library);
    if !path.exists() {
        skip(&format!("{} is not there", path.display()));
        return None;
    }
    Some(exported(&path))
}

/// libaio's, which has another name where all calls of time became longer (Debian 13).
fn aio() -> Option<Names> {
    let newer = "libaio.so.1t64";
    match artefacts::libc().with_file_name(newer).exists() {
        true => exported_by(newer),
        false => exported_by("libaio.so.1"),
    }
}

fn table() -> Vec<Call> {
    covered::calls(&found(artefacts::library()))
}

fn hooks(table: &[Call]) -> Names {
    let names = table.iter().flat_map(|call| &call.names);
    names.map(|name| name.text.clone()).collect()
}

/// The system calls that the table has, also on other architectures.
fn numbers(table: &[Call]) -> Names {
    let names = table.iter().flat_map(|call| &call.numbers);
    names.map(|name| name.text.clone()).collect()
}

/// The kernel's system calls on this architecture, as the C compiler knows them, by number.
fn kernel_numbers() -> BTreeMap<u32, String> {
    let output = Command::new("sh")
        .args(["-c", "echo '#include <sys/syscall.h>' | gcc -dM -E -"])
        .output()
        .expect("sh");
    let text = String::from_utf8(output.stdout).expect("ASCII");
    let calls: BTreeMap<u32, String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#define __NR_"))
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, number)| Some((number.trim().parse().ok()?, name.to_owned())))
        .collect();
    assert!(
        calls.len() > 250,
        "gcc: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    calls
}

fn kernel() -> Names {
    kernel_numbers().into_values().collect()
}

/// A call's name without the marks of a sibling: `__pread64_chk` is `pread`.
fn stem(symbol: &str) -> &str {
    let mut name = symbol.trim_start_matches('_');
    for prefix in ["libc_", "IO_"] {
        name = name.strip_prefix(prefix).unwrap_or(name);
    }
    while let Some(shorter) = without_mark(name) {
        name = shorter;
    }
    name
}

fn without_mark(name: &str) -> Option<&str> {
    // `preadv64v2` is `preadv64` again; `preadv2` is `preadv` again, whose `v` is its own.
    if name.ends_with("v2") {
        let mark = if name.ends_with("64v2") { "v2" } else { "2" };
        return name.strip_suffix(mark);
    }
    let marks = ["_chk", "_2", "_nocancel", "_time64", "64"];
    marks
        .iter()
        .find_map(|mark| name.strip_suffix(mark))
        .filter(|rest| !rest.is_empty())
}

fn siblings<'a>(hook: &str, library: &'a Names) -> Vec<&'a String> {
    library
        .iter()
        .filter(|symbol| symbol.as_str() != hook && stem(symbol) == stem(hook))
        .collect()
}

#[test]
fn every_sibling_has_a_hook_or_a_reason() {
    let (hooks, libc) = (hooks(&table()), exported(&artefacts::libc()));
    let known = reasons(|reason| &reason.libc);
    let mut missing = BTreeMap::new();
    for hook in hooks.intersection(&libc) {
        for sibling in siblings(hook, &libc) {
            if !hooks.contains(sibling) && !known.contains(sibling) {
                missing.insert(sibling, hook);
            }
        }
    }
    let lines: Vec<_> = missing
        .iter()
        .map(|(symbol, hook)| format!("  {symbol} (sibling of {hook})"))
        .collect();
    assert!(
        lines.is_empty(),
        "exported by libc, neither hooked nor in unhooked.toml:\n{}",
        lines.join("\n")
    );
}

/// A libc that has a function for one more of the kernel's calls has one more way to a file, or not: somebody must say.
#[test]
fn every_function_for_a_system_call_has_a_hook_or_a_reason() {
    let hooks = hooks(&table());
    let known = reasons(|reason| &reason.libc);
    let libc = exported(&artefacts::libc());
    let missing: Vec<_> = kernel()
        .into_iter()
        .filter(|name| libc.contains(name) && !hooks.contains(name) && !known.contains(name))
        .collect();
    assert!(
        missing.is_empty(),
        "a function of libc's and a system call, neither hooked nor in unhooked.toml: {missing:?}"
    );
}

/// A name that is hooked, and the kernel's call of that name, or of a sibling's, passed on by `syscall`: a way past.
#[test]
fn every_hooked_name_is_reached_by_its_number_too() {
    let table = table();
    let (numbers, known) = (numbers(&table), reasons(|reason| &reason.numbers));
    let plain = |name: &str| {
        let stem = stem(name).to_lowercase();
        stem.trim_end_matches(|c: char| c.is_ascii_digit())
            .to_owned()
    };
    let covered: Names = hooks(&table)
        .iter()
        .chain(&numbers)
        .map(|name| plain(name))
        .collect();
    let kernel = kernel();
    let missing: Vec<_> = kernel
        .iter()
        .filter(|call| covered.contains(&plain(call)))
        .filter(|call| !numbers.contains(*call) && !known.contains(*call))
        .collect();
    assert!(
        missing.is_empty(),
        "the table has these by name, and not by number: {missing:?}"
    );
}

/// `syscall` passes on whatever isn't in the table: each call that the kernel has is hooked, or somebody has said why not.
#[test]
fn every_number_has_a_hook_or_a_reason() {
    let (hooked, kernel) = (numbers(&table()), kernel());
    let (known, by_name) = (
        reasons(|reason| &reason.numbers),
        reasons(|reason| &reason.libc),
    );
    let missing: Vec<_> = kernel
        .iter()
        .filter(|call| {
            ![&hooked, &known, &by_name]
                .iter()
                .any(|has| has.contains(*call))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "system calls that are neither hooked nor in unhooked.toml: {missing:?}"
    );
    let newer = newer();
    for call in known {
        let is_there = kernel.contains(&call) || newer.contains(&call);
        assert!(
            is_there && !hooked.contains(&call) && !by_name.contains(&call),
            "{call}: its reason is not needed"
        );
    }
}

/// What these had is libc's own since glibc 2.34; what stays there has no use.
#[test]
fn the_libraries_beside_libc_are_empty() {
    for library in [
        "libpthread.so.0",
        "librt.so.1",
        "libdl.so.2",
        "libutil.so.1",
        "libanl.so.1",
    ] {
        let mut names = exported_by(library).unwrap_or_default();
        names.retain(|name| !name.ends_with("_version_placeholder"));
        assert!(names.is_empty(), "{library}: {names:?}");
    }
}

/// What the table says must be what the library exports, and nothing more: it would take the place of a program's own.
#[test]
fn the_table_is_what_is_exported() {
    let table = hooks(&table());
    let mut exported = exported(&found(artefacts::library()));
    // Asked by AddressSanitizer's runtime; a program's own comes first.
    assert!(exported.remove("__asan_default_options"));
    let (missing, more): (Vec<_>, Vec<_>) = (
        table.difference(&exported).collect(),
        exported.difference(&table).collect(),
    );
    assert!(
        missing.is_empty() && more.is_empty(),
        "in the table, not exported: {missing:?}; exported, not in the table: {more:?}"
    );
}

#[test]
fn every_hook_stands_for_something() {
    let libc = exported(&artefacts::libc());
    let (Some(aio), Some(uring)) = (aio(), exported_by("liburing.so.2")) else {
        return;
    };
    // liburing has this one since 2.5, which may be newer than the one here.
    let newer = "io_uring_queue_init_mem";
    let foreign: Vec<_> = hooks(&table())
        .into_iter()
        .filter(|name| !libc.contains(name) && !aio.contains(name) && !uring.contains(name))
        .filter(|name| name != newer)
        .collect();
    assert!(
        foreign.is_empty(),
        "hooked, but no function of libc, libaio or liburing: {foreign:?}"
    );
}

/// Whatever liburing and libaio export is hooked, or works on what one of the hooked functions has made.
#[test]
fn no_other_library_has_another_door() {
    let (Some(aio), Some(uring)) = (aio(), exported_by("liburing.so.2")) else {
        return;
    };
    let hooks = hooks(&table());
    let registers = |name: &str| {
        name.starts_with("io_uring_register_") || name.starts_with("io_uring_unregister_")
    };
    for (exported, known) in [
        (aio, reasons(|reason| &reason.libaio)),
        (uring, reasons(|reason| &reason.liburing)),
    ] {
        let doors: Vec<_> = exported
            .iter()
            .filter(|name| !hooks.contains(*name) && !known.contains(*name) && !registers(name))
            .collect();
        assert!(
            doors.is_empty(),
            "does one of these make a ring or move bytes, or does it need a ring or a context? {doors:?}"
        );
    }
}

#[test]
fn reasons_are_still_needed() {
    let (hooks, libc) = (hooks(&table()), exported(&artefacts::libc()));
    let (unhooked, newer) = (unhooked(), newer());
    for symbol in unhooked.iter().flat_map(|reason| words(&reason.libc)) {
        assert!(
            libc.contains(&symbol) || newer.contains(&symbol),
            "{symbol} is in unhooked.toml, but libc doesn't export it"
        );
        assert!(
            !hooks.contains(&symbol),
            "{symbol} is in unhooked.toml, but it is hooked"
        );
    }
}

/// Without a remark a name is there wherever this library runs; with one, since then.
#[test]
fn the_table_says_what_an_old_libc_lacks() {
    const EVERYWHERE: (u32, u32) = (2, 17);
    let libc = versions(&artefacts::libc());
    for name in table().iter().flat_map(|call| &call.names) {
        let Some(since) = libc.get(&name.text) else {
            continue; // of another library
        };
        let newer = (*since > EVERYWHERE).then_some(*since);
        let said = name.only.as_deref().map(number);
        assert_eq!(newer, said, "{}: since which glibc?", name.text);
    }
}

#[test]
fn the_page_of_what_is_covered_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/coverage.md");
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == covered::page(&table()),
        "docs/coverage.md is not what the table says: cargo run --release --bin coverage > docs/coverage.md"
    );
}

#[test]
fn stems() {
    for (symbol, bare) in [
        ("pread64", "pread"),
        ("__pread64_chk", "pread"),
        ("__open64_2", "open"),
        ("__open", "open"),
        ("preadv64v2", "preadv"),
        ("preadv2", "preadv"),
        ("dup2", "dup2"),
        ("__dup2", "dup2"),
        ("__libc_fork", "fork"),
    ] {
        assert_eq!(stem(symbol), bare, "{symbol}");
    }
}
