//! The house is as its floor plan says: rooms, and the files in them, rely only on what lies below.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `protocol`, from the ground up.
const ROOMS: [&str; 8] = [
    "who", "tell", "what", "hold", "direct", "calls", "requests", "life",
];
/// The crates, and on which others each may rely.
const CRATES: [(&str, &[&str]); 8] = [
    ("kernel", &[]),
    ("lock-table", &["kernel"]),
    ("policy", &[]),
    ("summary", &["kernel"]),
    ("trace", &["kernel"]),
    (
        "protocol",
        &["kernel", "lock-table", "policy", "summary", "trace"],
    ),
    ("shim", &["kernel", "protocol"]),
    ("report", &["policy", "trace"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The source of a file without its tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or("");
    // What stands in for something in tests is theirs, too.
    let mut parts = text.split("#[cfg(test)]\nuse ");
    let first = parts.next().unwrap_or("");
    let rest = parts.map(|part| part.split_once(';').map_or("", |(_, rest)| rest));
    let text: String = core::iter::once(first).chain(rest).collect();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// A file of `protocol`: its room and its name.
type Place = (usize, String);

fn files() -> BTreeMap<Place, PathBuf> {
    let mut all = BTreeMap::new();
    for (room, name) in ROOMS.iter().enumerate() {
        let dir = root().join("protocol/src").join(name);
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.expect("an entry").path();
            let stem = path
                .file_stem()
                .and_then(|s| s.to_str())
                .unwrap_or("")
                .to_owned();
            let tests = stem == "tests" || stem.ends_with("_tests");
            if stem != "mod" && !tests && path.extension().is_some_and(|e| e == "rs") {
                all.insert((room, stem), path);
            }
        }
    }
    assert!(all.len() > 40, "the house is somewhere else: {all:?}");
    all
}

/// The paths that a `use` names: `a::{b, c::d}` names `a::b` and `a::c::d`.
fn spread(path: &str) -> Vec<String> {
    let Some((head, list)) = path.split_once('{') else {
        return vec![path.trim().to_owned()];
    };
    let list = list.trim_end().strip_suffix('}').unwrap_or(list);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("one").push(c);
    }
    let head = head.trim();
    let named = parts.iter().map(|part| part.trim());
    named
        .filter(|part| !part.is_empty())
        .flat_map(|part| spread(&format!("{head}{part}")))
        .collect()
}

/// What the code names of this crate, in `use` lines and in its midst.
fn named(code: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("crate::") {
        let from = &rest[at + "crate::".len()..];
        let mut depth = 0;
        let ends = |c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            let inside = depth > 0 || c == '}' || c.is_alphanumeric() || "_:".contains(c);
            !inside
        };
        let end = from.find(ends).unwrap_or(from.len());
        for path in spread(&from[..end]) {
            all.push(path.split("::").map(|w| w.trim().to_owned()).collect());
        }
        rest = &from[end.min(from.len())..];
    }
    all
}

fn arrows() -> BTreeMap<Place, BTreeSet<Place>> {
    let files = files();
    let mut all = BTreeMap::new();
    for (place, path) in &files {
        let mut to = BTreeSet::new();
        for names in named(&code(path)) {
            let Some(room) = names
                .first()
                .and_then(|n| ROOMS.iter().position(|r| r == n))
            else {
                let known = names.first().is_some_and(|n| n.is_empty());
                assert!(known, "{}: crate::{names:?} is in no room", path.display());
                continue;
            };
            // What a room gives out under its own name stands in the file that the room is named after.
            let file = names
                .get(1)
                .map(|n| (room, n.clone()))
                .filter(|p| files.contains_key(p))
                .unwrap_or((room, "request".to_owned()));
            if file != *place {
                to.insert(file);
            }
        }
        all.insert(place.clone(), to);
    }
    all
}

fn name((room, file): &Place) -> String {
    format!("{}/{file}", ROOMS[*room])
}

#[test]
fn no_room_relies_on_one_above_it() {
    let mut up = Vec::new();
    for (from, to) in arrows() {
        up.extend(
            to.iter()
                .filter(|t| t.0 > from.0)
                .map(|t| format!("{} -> {}", name(&from), name(t))),
        );
    }
    assert!(up.is_empty(), "arrows that point up:\n{}", up.join("\n"));
}

#[test]
fn no_files_rely_on_each_other() {
    let arrows = arrows();
    // Files that rely on nothing that is left are taken away, until only circles are left.
    let mut left: BTreeSet<_> = arrows.keys().cloned().collect();
    loop {
        let free = |p: &&Place| arrows[*p].iter().all(|to| !left.contains(to));
        let done: Vec<_> = left.iter().filter(free).cloned().collect();
        if done.is_empty() {
            break;
        }
        done.iter().for_each(|p| {
            left.remove(p);
        });
    }
    let circle: Vec<_> = left
        .iter()
        .map(|p| {
            let to: Vec<_> = arrows[p]
                .iter()
                .filter(|t| left.contains(t))
                .map(name)
                .collect();
            format!("{} -> {}", name(p), to.join(", "))
        })
        .collect();
    assert!(
        circle.is_empty(),
        "in a circle, or above one:\n{}",
        circle.join("\n")
    );
}

/// What a process remembers is owned by its rooms: a `State` each, in the file of that name. What is static all the same
/// is no memory of the process.
#[test]
fn nothing_is_remembered_outside_a_state() {
    const NONE_OF_IT: [(&str, &str); 3] = [
        ("who/owned", "OF_THE_PROCESS"), // where the states stand
        ("life/variables", "environ"),   // libc's
        ("requests/mod", "ANSWERS"),     // addresses of functions, never changed
    ];
    let mut found = Vec::new();
    let doors = ROOMS.map(|r| root().join("protocol/src").join(r).join("mod.rs"));
    for path in files().into_values().chain(doors) {
        let place = path.with_extension("");
        for line in code(&path).lines().map(str::trim_start) {
            let line = line
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub ");
            let Some(rest) = line.strip_prefix("static ") else {
                continue;
            };
            let name = rest.split(':').next().unwrap_or("");
            let known = |(file, known): &(&str, &str)| place.ends_with(file) && *known == name;
            if !NONE_OF_IT.iter().any(known) {
                found.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "outside of a state:\n{}",
        found.join("\n")
    );
}

#[test]
fn no_crate_relies_on_one_above_it() {
    for (name, below) in CRATES {
        let path = root().join(name).join("Cargo.toml");
        let text = fs::read_to_string(&path).expect("a manifest");
        let own = text.split("[dev-dependencies]").next().unwrap_or("");
        let members = CRATES
            .iter()
            .map(|c| c.0)
            .chain(["cli", "tests", "test-apps"]);
        for other in members.filter(|m| *m != name && !below.contains(m)) {
            let relies = own.lines().any(|l| l.starts_with(&format!("{other}.")));
            assert!(!relies, "{name} relies on {other}");
        }
    }
}

/// All sources of a crate, with its own tests.
fn sources(name: &str) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    let mut dirs = vec![root().join(name).join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("a file");
                all.push((path, text));
            }
        }
    }
    assert!(!all.is_empty(), "{name} is somewhere else");
    all
}

#[test]
fn every_file_says_what_it_is_for() {
    for name in CRATES.map(|c| c.0) {
        for (path, text) in sources(name) {
            assert!(text.starts_with("//! "), "{}", path.display());
        }
    }
}

/// The functions of a source, as `cargo fmt` leaves it: where each begins, and how many lines it has.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let begins = |line: &&str| {
        let words = line.trim_start().trim_start_matches("pub(crate) ");
        let words = words.trim_start_matches("pub(super) ");
        let mut words = words.split(' ').skip_while(|w| {
            matches!(*w, "pub" | "const" | "unsafe" | "extern") || w.starts_with('"')
        });
        words.next() == Some("fn") && !line.ends_with(';')
    };
    let ends = |at: usize| {
        let indent = lines[at].len() - lines[at].trim_start().len();
        let end = format!("{}}}", &lines[at][..indent]);
        let rest = &lines[at..];
        match rest[0].ends_with('}') {
            true => 1,
            false => rest.iter().position(|l| *l == end).map_or(1, |n| n + 1),
        }
    };
    let all = (0..lines.len()).filter(|at| begins(&lines[*at]));
    all.map(|at| (at + 1, ends(at))).collect()
}

#[test]
fn files_and_functions_are_short() {
    const LINES_OF_A_FILE: usize = 400;
    const LINES_OF_A_FUNCTION: usize = 60;
    let mut long = Vec::new();
    for name in [
        "kernel", "policy", "trace", "protocol", "shim", "report", "cli",
    ] {
        for (path, text) in sources(name) {
            let lines = text.lines().count();
            if lines > LINES_OF_A_FILE {
                long.push(format!("{}: {lines} lines", path.display()));
            }
            let functions = functions(&text);
            for (at, lines) in functions.iter().filter(|f| f.1 > LINES_OF_A_FUNCTION) {
                long.push(format!("{}:{at}: {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "too long:\n{}", long.join("\n"));
}

/// Pages are of 4 KiB on x86-64 only: elsewhere the size is asked (`kernel::page`, `lock_table::page`).
#[test]
fn the_size_of_pages_is_not_assumed() {
    const ASSUMES: [&str; 5] = [
        "PAGE: usize = 4096",
        "PAGE: u64 = 4096",
        "0xfff;",
        "/ 4096 *",
        "is_multiple_of(4096)",
    ];
    let mut found = Vec::new();
    for name in ["kernel", "lock-table", "protocol", "shim", "cli"] {
        for (path, text) in sources(name) {
            // What stands in the machine code of x86-64, and its tests.
            let shown = path.display().to_string();
            if shown.ends_with("kernel/src/code.rs") || shown.contains("tests") {
                continue;
            }
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = code.lines().enumerate();
            let strange = lines.filter(|(_, line)| ASSUMES.iter().any(|what| line.contains(what)));
            found.extend(strange.map(|(at, line)| format!("{shown}:{}: {line}", at + 1)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// One that `scripts/test` doesn't name is run by nobody.
#[test]
fn every_test_is_in_a_group() {
    let script = fs::read_to_string(root().join("scripts/test")).unwrap();
    let (_, groups) = script.split_once("GROUPS_IN_ORDER=(").unwrap();
    let groups: BTreeSet<_> = groups.split(')').next().unwrap().split(' ').collect();
    let files = fs::read_dir(root().join("tests/tests")).unwrap();
    for path in files.map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(groups.contains(name), "scripts/test doesn't run {name}");
    }
}

/// What the tests above rest on is itself able to see an arrow.
#[test]
fn arrows_are_seen() {
    let seen =
        named("use crate::who::{lists, thread::{self, Frame}};\nfn f() { crate::tell::x::y(1) }");
    let seen: Vec<_> = seen.iter().map(|names| names.join("/")).collect();
    assert_eq!(
        seen,
        [
            "who/lists",
            "who/thread/self",
            "who/thread/Frame",
            "tell/x/y"
        ]
    );
}

#[test]
fn functions_are_seen() {
    let text = "fn a() {}\n\npub(crate) unsafe extern \"C\" fn b() {\n    c();\n}\n\nimpl X {\n    pub fn d(\n    ) {\n        if e {\n        }\n    }\n}\n";
    assert_eq!(functions(text), [(1, 1), (3, 3), (8, 5)]);
}
