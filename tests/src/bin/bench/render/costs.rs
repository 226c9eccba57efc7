//! The part of `docs/costs.md`: the picture, a few rows, and where the rest is.

use super::results::All;
use super::rows::Row;
use super::words::{says, table, time, times};
use super::{page, words};

pub const BEGIN: &str = "<!-- bench:begin -->";
pub const END: &str = "<!-- bench:end -->";

/// One with a device, and one without, where all shows that the library does.
const FILESYSTEMS: [&str; 2] = ["ext4", "tmpfs"];

const CALLS: [(&str, &str); 10] = [
    ("io", "pread-4k"),
    ("io", "pwrite-4k"),
    ("io", "read-4k"),
    ("io", "direct-read-4k"),
    ("io", "direct-write-4k"),
    ("io", "open-read-close"),
    ("io", "fork-wait"),
    ("io", "spawn-true"),
    ("aio", "aio-read-32"),
    ("aio", "aio-write-32"),
];

const PROGRAMS: [&str; 6] = [
    "bash-forks",
    "git-status",
    "tar",
    "sqlite-wal",
    "postgresql",
    "mariadb-backup",
];

const PAIRS: [(&str, &str); 6] = [
    ("pair", "the lock table"),
    (
        "held-1000",
        "the same, 1,000 ranges held elsewhere in the file",
    ),
    ("rwlock", "`pthread_rwlock` for the whole file"),
    ("tree", "`pthread_mutex` and an interval tree"),
    ("ofd", "`fcntl`, `F_OFD_SETLKW`"),
    (
        "ofd-held-1000",
        "the same, 1,000 ranges held elsewhere in the file",
    ),
];

/// The page with this between its marks.
pub fn with(page: &str, part: &str) -> Result<String, String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .ok_or(format!("docs/costs.md: no {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .ok_or(format!("docs/costs.md: no {END} behind {BEGIN}"))?;
    Ok(format!("{before}{BEGIN}\n{part}{END}{after}"))
}

pub fn part(all: &All, rows: &[Row]) -> String {
    let abouts = page::abouts(all);
    if abouts.is_empty() {
        return "No results are kept of this version yet: [how they are made](performance.md).\n"
            .to_owned();
    }
    let mut text = String::new();
    if !rows.is_empty() {
        text += "[![How many times as long calls and programs take under Pagefence](performance.svg)](performance.md)\n\n";
        text += &ratios(all, rows);
    }
    text += &pairs(all);
    let missed = rows.iter().filter(|row| row.misses()).count();
    let with = rows.iter().filter(|row| row.target.is_some()).count();
    let targets = match missed {
        _ if with == 0 => String::new(),
        0 => format!(" All {with} figures that have a target keep it."),
        _ => format!(" Of {with} figures that have a target {missed} miss it; those are bold."),
    };
    let mut on: Vec<_> = abouts
        .iter()
        .map(|about| format!("{}, {}", about.date, page::machine(about)))
        .collect();
    on.dedup();
    text += &format!(
        "{}; bare and fenced in turn, medians.{targets}\n[All figures](performance.md).\n",
        on.join("; ")
    );
    text
}

/// How many times as long, where it was measured.
fn ratios(all: &All, rows: &[Row]) -> String {
    let mut lines = Vec::new();
    let cell = |what: &str, name: &str, filesystem: &str, mixed: bool| {
        let row = rows.iter().find(|row| {
            (row.what, row.name, row.filesystem, row.mixed) == (what, name, filesystem, mixed)
        });
        row.map_or("-".to_owned(), |row| {
            let said = times(row.summary.ratio.median);
            if row.misses() {
                format!("**{said}**")
            } else {
                said
            }
        })
    };
    let mut add = |what: &str, name: &str, says: &str| {
        let cells = FILESYSTEMS
            .iter()
            .flat_map(|on| [false, true].map(|mixed| cell(what, name, on, mixed)));
        let cells: Vec<_> = cells.collect();
        if cells.iter().any(|cell| cell != "-") {
            lines.push([&[says.to_owned()], &cells[..]].concat());
        }
    };
    for (what, name) in CALLS {
        let before = if what == "aio" { "Linux AIO: " } else { "" };
        add(what, name, &format!("{before}{}", says(name)));
    }
    let programs = || {
        all.programs
            .iter()
            .flat_map(|report| &report.results.figures)
    };
    for name in PROGRAMS {
        if let Some(figure) = programs().find(|figure| figure.name == name) {
            add("programs", name, &format!("`{name}`: {}", figure.says));
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let heads = FILESYSTEMS
        .iter()
        .flat_map(|on| [false, true].map(|mixed| format!("{on}, {}", words::use_of(mixed))));
    let heads: Vec<_> = heads.collect();
    let heads: Vec<_> = heads.iter().map(String::as_str).collect();
    table(&[&["times as long as bare"], &heads[..]].concat(), lines) + "\n"
}

/// The lock table beside other locks.
fn pairs(all: &All) -> String {
    let Some(report) = &all.lock_table else {
        return String::new();
    };
    let line = |(name, says): &(&str, &str)| {
        let one = report.results.one(name)?;
        let ns = one.ns.spread()?;
        let range = format!("{}..{}", time(ns.low), time(ns.high));
        Some(vec![(*says).to_owned(), time(ns.median), range])
    };
    let lines: Vec<_> = PAIRS.iter().filter_map(line).collect();
    match lines.is_empty() {
        true => String::new(),
        false => {
            table(
                &["a range taken and let go of", "a pair", "low..high"],
                lines,
            ) + "\n"
        }
    }
}
