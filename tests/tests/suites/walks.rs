//! What `docs/walks.md` shows is what a user sees: the script's commands, lines of the form that they print, the verdicts.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pagefence_tests::artefacts;
use pagefence_tests::places::main_place;
use pagefence_tests::run::run;

const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What the script prints.
fn walked(name: &str) -> String {
    let command = artefacts::command().expect("the command");
    let library = artefacts::library().expect("the library");
    assert_eq!(command.parent(), library.parent());
    let mut walk = Command::new(Path::new(PROJECT).join("scripts/walk"));
    walk.arg(name).arg("--on").arg(main_place().path);
    walk.arg("--bin")
        .arg(command.parent().expect("a directory"));
    let outcome = run(&mut walk, Duration::from_secs(400)).expect("a shell");
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    outcome.stdout
}

/// The boxes of the page's part that begins with that heading.
fn written(heading: &str) -> String {
    let page = std::fs::read_to_string(Path::new(PROJECT).join("docs/walks.md")).expect("the page");
    let parts = page.split("\n## ").skip(1);
    let part = parts.filter(|part| part.starts_with(heading)).last();
    let boxes = part.expect("its part").split("```console\n").skip(1);
    let boxes = boxes.map(|rest| rest.split("```").next().unwrap_or(""));
    boxes.collect::<Vec<_>>().join("\n")
}

fn commands(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| line.starts_with("$ "));
    lines.collect()
}

/// A line without what differs from run to run: numbers, who of two was in whose way more often, and in which modes of all.
fn form(line: &str) -> String {
    // Most often for this reason, and now and then for another.
    let line = match line.split_once(", ") {
        Some((first, _)) if line.contains("fell back because: ") => first,
        _ => line,
    };
    let mut out = String::new();
    for word in line.replace(" once", " 1 times").split_whitespace() {
        let word = match word.trim_matches(|c| matches!(c, '(' | ')' | ',')) {
            "direct_read" | "direct_write" | "buffered_read" | "buffered_write"
            | "mapped_writable" => "MODE",
            _ => word,
        };
        if word == "MODE" && out.ends_with("MODE ") {
            continue;
        }
        let mut last = ' ';
        for c in word.chars() {
            let c = if c.is_ascii_digit() { '0' } else { c };
            if (c, last) != ('0', '0') {
                out.push(c);
            }
            last = c;
        }
        out.push(' ');
    }
    match out.split_once(" mix ") {
        Some((_, rest)) => format!("they mix {rest}"),
        // As many processes as there were.
        None => out.replace("0, ", "").replace("and 0 more ", ""),
    }
}

/// Who met whom in which modes: rows that there may be more or less of.
fn is_row(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or("");
    line.starts_with("  ") && ["wait", "collision"].contains(&word)
}

/// What is written is what was seen, in form.
fn compare(heading: &str, seen: &str) {
    let written = written(heading);
    assert_eq!(commands(&written), commands(seen));
    let known: BTreeSet<String> = seen.lines().map(form).collect();
    let strange: Vec<&str> = written
        .lines()
        .filter(|line| !is_row(line) && !known.contains(&form(line)))
        .collect();
    assert!(strange.is_empty(), "{heading}: {strange:#?} in {seen}");
}

/// The two lines behind that command: the verdict, and the way out.
fn said(seen: &str, command: &str) -> (String, String) {
    let mut lines = seen.lines().skip_while(|line| *line != command).skip(1);
    let mut next = || lines.next().unwrap_or_default().to_owned();
    (next(), next())
}

fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// Names, ranges, times and the cure, in two commands; and that the cures are some.
fn tells(seen: &str, scan: &str, [direct, other]: [&str; 2], file: &str) {
    let (who, _) = said(seen, scan);
    let name = file.rsplit('/').next().unwrap_or(file);
    contains(
        &who,
        &[name, "in two modes", direct, other, "neither is fenced"],
    );
    let (verdict, cure) = said(seen, "$ pagefence report trace");
    contains(
        &verdict,
        &[
            direct,
            other,
            file,
            "in bytes",
            "at the same moment",
            "nothing kept them apart",
        ],
    );
    contains(
        &cure,
        &["fence both", "pagefence run", "route = \"buffered\""],
    );
    let report = |name: &str| {
        let command = format!("$ pagefence report {name}");
        let lines = seen
            .lines()
            .skip_while(move |line| *line != command)
            .skip(1);
        lines
            .take_while(|line| !line.starts_with("$ "))
            .collect::<Vec<_>>()
            .join("\n")
    };
    contains(
        &report("trace"),
        &[&format!("MIXED  {file} "), "HOTTEST BYTES"],
    );
    let fenced = report("fenced");
    contains(&fenced, &["they were kept apart"]);
    assert!(!fenced.contains("collision"), "{fenced}");
    contains(&report("routed"), &["no file was used in two modes"]);
}

#[test]
fn a_database_and_its_backup() {
    let seen = walked("mariadb");
    let scan = "$ pagefence scan data/shop";
    tells(
        &seen,
        scan,
        ["mariadbd", "tar"],
        "/srv/data/shop/orders.ibd",
    );
    compare("A database", &seen);
}

#[test]
fn an_image_that_is_mapped() {
    let seen = walked("vm");
    let scan = "$ pagefence scan disk.img";
    tells(&seen, scan, ["qemu-img", "python3"], "/srv/disk.img");
    compare("A virtual machine", &seen);
}
