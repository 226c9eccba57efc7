//! What a built library says that it covers: the table of `shim/src/table.rs`, as text; and the page of it.

use crate::reasons::Reason;
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol};
use std::fmt::Write;
use std::path::Path;

/// A name, or a number's.
pub struct Name {
    pub text: String,
    /// The glibc that brought the name, if that is after 2.17; the only architecture that has the number, if not all.
    pub only: Option<String>,
}

pub struct Call {
    pub family: String,
    pub does: String,
    pub names: Vec<Name>,
    pub numbers: Vec<Name>,
}

/// The table of this library.
pub fn calls(library: &Path) -> Vec<Call> {
    let bytes = std::fs::read(library).unwrap_or_else(|e| panic!("{}: {e}", library.display()));
    let text = text(&bytes).unwrap_or_else(|| panic!("{}: no table", library.display()));
    let (mut calls, mut family) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            title.clone_into(&mut family);
            continue;
        }
        let parts: Vec<&str> = line.split('\t').collect();
        let [does, listed, unlisted, numbers] = parts[..] else {
            panic!("not a call: {line}");
        };
        calls.push(Call {
            family: family.clone(),
            does: does.to_owned(),
            names: names(listed).chain(names(unlisted)).collect(),
            numbers: names(numbers).collect(),
        });
    }
    calls
}

/// What stands behind the symbol that the library has for it.
fn text(bytes: &[u8]) -> Option<String> {
    let file = ElfFile64::<Endianness>::parse(bytes).ok()?;
    let symbol = file
        .dynamic_symbols()
        .find(|s| s.name() == Ok("PAGEFENCE_CALLS"))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let text = section.data_range(symbol.address(), symbol.size()).ok()??;
    String::from_utf8(text.to_vec()).ok()
}

fn names(list: &str) -> impl Iterator<Item = Name> {
    list.split_whitespace().map(|name| {
        let (text, only) = name.split_once('@').unwrap_or((name, ""));
        Name {
            text: text.trim_start_matches("SYS_").to_owned(),
            only: (!only.is_empty()).then(|| only.to_owned()),
        }
    })
}

const HEAD: &str = "\
# What is covered

The calls by which a program comes to a file, or to a descriptor, and that Pagefence knows: by their names, and by their
numbers through `syscall()`. Names in parentheses came to glibc later than 2.17: with an older one they are missing, as
without the library. What is promised of them stands [here](promises.md), and what isn't covered [here](limits.md).
[Whatever else](#what-has-no-hook) could come to a file, a descriptor or a mapping has a reason.

This page is made from the one table that the hooks are made from ([`shim/src/table.rs`](../shim/src/table.rs)) and the lists
of what has none ([`unhooked.toml`](../tests/unhooked.toml), [`inside.toml`](../tests/inside.toml)):
`cargo run --release --bin coverage > docs/coverage.md`. [Tests](../tests/tests/symbols) fail when a libc, a liburing, a
libaio or a kernel has one more.
";

const REASONS: &str = "
## What has no hook

Functions of libc, liburing and libaio and system calls that are like something hooked, or that are the kernel's; and why
nothing is lost by that.
";

const INSIDE: &str = "
## What libc does by itself

Functions of libc's that have no hook and open, read, write, map or close something without calling what has one. Which
these are is read from libc's machine code.
";

/// `docs/coverage.md`.
pub fn page(calls: &[Call]) -> String {
    let mut page = HEAD.to_owned();
    let mut family = "";
    for call in calls {
        if call.family != family {
            family = &call.family;
            let _ = write!(
                page,
                "\n## {family}\n\n| the call | by name | by number |\n|---|---|---|\n"
            );
        }
        let list = |names: &[Name], of: &dyn Fn(&str) -> String| {
            let all = names.iter().map(|name| match &name.only {
                Some(only) => format!("`{}` ({})", name.text, of(only)),
                None => format!("`{}`", name.text),
            });
            all.collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            call.does,
            list(&call.names, &|glibc| format!("glibc {glibc}")),
            list(&call.numbers, &|architecture| architecture
                .replace('_', "-"))
        );
    }
    page.push_str(REASONS);
    page.push_str(&reasons(&crate::reasons::unhooked()));
    page.push_str(INSIDE);
    page.push_str(&reasons(&crate::reasons::inside()));
    page
}

fn reasons(all: &[Reason]) -> String {
    let mut text = String::new();
    for reason in all {
        let _ = writeln!(text, "\n* {}.", capital(&reason.why));
        for (whose, names) in [
            ("libc", &reason.libc),
            ("liburing", &reason.liburing),
            ("libaio", &reason.libaio),
            ("by number", &reason.numbers),
        ] {
            let names: Vec<_> = names.split_whitespace().map(|n| format!("`{n}`")).collect();
            if !names.is_empty() {
                let _ = writeln!(text, "  * {whose}: {}", names.join(", "));
            }
        }
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}
