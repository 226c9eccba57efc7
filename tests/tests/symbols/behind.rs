//! What the library's hooks call is what the loader would find behind it: read out of the memory of a program that has it
//! loaded, and compared with what the files of the libraries behind it say.

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol};
use pagefence_tests::artefacts;
use pagefence_tests::fence::found;
use pagefence_tests::programs::compile;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

type File<'a> = ElfFile64<'a, Endianness>;

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Where the library's code keeps what stands behind a name.
fn kept(library: &[u8]) -> Vec<(String, u64)> {
    let file = File::parse(library).expect("ELF");
    let mut all = Vec::new();
    for symbol in file.symbols() {
        let parts = mangled(symbol.name().unwrap_or(""));
        if let ["pagefence", "table", _, name, "REAL", ..] = parts[..] {
            all.push((name.to_owned(), symbol.address()));
        }
    }
    all
}

/// The parts of a mangled path.
fn mangled(name: &str) -> Vec<&str> {
    let mut rest = name.strip_prefix("_ZN").unwrap_or("");
    let mut parts = Vec::new();
    while let digits @ 1.. = rest.bytes().take_while(u8::is_ascii_digit).count() {
        let (len, after) = rest.split_at(digits);
        let Some((part, others)) = after.split_at_checked(len.parse().unwrap_or(0)) else {
            break;
        };
        parts.push(part);
        rest = others;
    }
    parts
}

/// What a library gives programs that are linked today.
fn given(path: &Path) -> BTreeMap<String, u64> {
    let bytes = read(path);
    let file = File::parse(&*bytes).expect("ELF");
    let table = file.elf_section_table();
    let versions = table.versions(file.endian(), &*bytes).expect("versions");
    let hidden = |index| {
        let versions = versions.as_ref();
        versions.is_some_and(|v| v.version_index(file.endian(), index).is_hidden())
    };
    let symbols = file.dynamic_symbols();
    let defined = symbols.filter(|s| s.is_definition() && s.address() != 0 && !hidden(s.index()));
    let name =
        |s: &object::read::elf::ElfSymbol64<Endianness>| s.name().expect("a name").to_owned();
    defined.map(|s| (name(&s), s.address())).collect()
}

/// Where a file is mapped first.
fn base(maps: &str, path: &Path) -> u64 {
    let path = path.to_str().expect("a name");
    let line = maps.lines().find(|line| line.ends_with(path));
    let start = line.and_then(|line| line.split('-').next());
    u64::from_str_radix(start.expect("it is loaded"), 16).expect("a number")
}

/// For each name, what a program's hooks call, and what stands behind us in the order of these libraries.
fn called_and_given(libraries: &[&Path]) -> BTreeMap<String, (u64, Option<u64>)> {
    let ours = found(artefacts::library())
        .canonicalize()
        .expect("it is there");
    let all: Vec<_> = libraries
        .iter()
        .map(|l| l.canonicalize().expect("it is there"))
        .collect();
    let preload: Vec<_> = [&ours].into_iter().chain(&all).collect();
    let names: Vec<_> = preload
        .iter()
        .map(|path| path.to_str().expect("a name"))
        .collect();
    let mut program = Command::new("cat")
        .env("LD_PRELOAD", names[..names.len() - 1].join(":"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cat");
    // Once it answers it has started.
    let mut input = program.stdin.take().expect("piped");
    input.write_all(b"there?\n").expect("it reads");
    let mut line = String::new();
    let output = BufReader::new(program.stdout.take().expect("piped")).read_line(&mut line);
    assert_eq!((output.ok(), line.as_str()), (Some(7), "there?\n"));
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", program.id())).expect("maps");
    let memory = std::fs::File::open(format!("/proc/{}/mem", program.id())).expect("mem");
    let given: Vec<_> = all.iter().map(|l| (base(&maps, l), given(l))).collect();
    let mut both = BTreeMap::new();
    for (name, at) in kept(&read(&ours)) {
        let mut word = [0; 8];
        memory
            .read_exact_at(&mut word, base(&maps, &ours) + at)
            .expect("it is there");
        let stands = given
            .iter()
            .find_map(|(base, names)| Some(base + names.get(&name)?));
        both.insert(name, (u64::from_le_bytes(word), stands));
    }
    drop(input);
    program.wait().expect("it ends");
    both
}

fn differ(both: &BTreeMap<String, (u64, Option<u64>)>) -> Vec<&String> {
    let known = both
        .iter()
        .filter_map(|(name, (called, given))| Some((name, *called, (*given)?)));
    let known: Vec<_> = known.collect();
    assert!(
        known.len() > 150,
        "only {} of {} are known",
        known.len(),
        both.len()
    );
    let wrong = known
        .into_iter()
        .filter(|(_, called, given)| called != given);
    wrong.map(|(name, ..)| name).collect()
}

#[test]
fn hooks_call_what_libc_gives_programs_of_today() {
    let both = called_and_given(&[&artefacts::libc()]);
    assert_eq!(differ(&both), [""; 0]);
}

#[test]
fn hooks_call_what_stands_between_us_and_libc() {
    let versions = concat!(
        "-Wl,--version-script=",
        env!("CARGO_MANIFEST_DIR"),
        "/programs/stands_behind.map"
    );
    let between = compile("stands_behind", &["-shared", "-fPIC", versions]);
    let both = called_and_given(&[&between.path, &artefacts::libc()]);
    assert_eq!(differ(&both), [""; 0]);
    let alone = given(&between.path);
    for (name, ours) in [("pread", true), ("fdatasync", true), ("fsync", false)] {
        assert!(both.contains_key(name), "{name}");
        assert_eq!(alone.contains_key(name), ours, "{name}: {alone:?}");
    }
}

/// What is large and empty at first is in no file: what a process has not touched of it a fork doesn't copy.
#[test]
fn rooms_begin_empty() {
    let bytes = read(&found(artefacts::library()));
    let file = File::parse(&*bytes).expect("ELF");
    let large = file.symbols().filter(|s| s.size() > 4096);
    let of_rooms = large.filter(|s| s.name().is_ok_and(|name| name.contains("OF_THE_PROCESS")));
    let sections = of_rooms.map(|s| {
        let index = s.section_index().expect("it is defined");
        let section = file.section_by_index(index).expect("it is there");
        section.name().expect("ASCII").to_owned()
    });
    let sections: Vec<_> = sections.collect();
    assert!(sections.len() >= 3, "{sections:?}");
    assert!(
        sections.iter().all(|name| name.starts_with(".bss")),
        "{sections:?}"
    );
}
