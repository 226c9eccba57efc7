//! The house is as its floor plan says: rooms, and the files in them, rely only on what lies below.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `protocol`, from the ground up.
const ROOMS: [&str; 8] = [
    "who", "tell", "what", "hold", "direct", "calls", "requests", "life",
];
/// The crates, and on which others each may rely.
const CRATES: [(&str, &[&str]); 5] = [
    ("kernel", &[]),
    ("lock-table", &["kernel"]),
    ("policy", &[]),
    ("protocol", &["kernel", "lock-table", "policy"]),
    ("shim", &["kernel", "protocol"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The source of a file without its tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let text = text.split("#[cfg(test)]").next().unwrap_or("");
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
            if stem != "mod" && path.extension().is_some_and(|e| e == "rs") {
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

#[test]
fn every_file_says_what_it_is_for() {
    for name in CRATES.map(|c| c.0) {
        let mut dirs = vec![root().join(name).join("src")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    dirs.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let text = fs::read_to_string(&path).expect("a file");
                    assert!(text.starts_with("//! "), "{}", path.display());
                }
            }
        }
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
