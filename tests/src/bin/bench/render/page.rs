//! `docs/performance.md`: what was measured on what, which targets are missed, and every figure.

use super::results::All;
use super::rows::Row;
use super::{tables, words};
use crate::about::{About, Filesystem};
use crate::machine::DISTURBED;

/// A part of the page: what `scripts/bench` is told, the heading, and what stands under it.
const PARTS: [(&str, &str, &str); 6] = [
    (
        "io",
        "Calls on files",
        "In one mode, buffered and direct calls have a file each. In mixed use they share one, and the figures are of a program \
that uses another range of it with `O_DIRECT`; *beside a mapping* it falls back there. A figure of a filesystem on \
a device has the device in it; tmpfs has none, so all shows there that the library does.",
    ),
    (
        "aio",
        "Linux AIO",
        "Direct requests of 4 KiB. In one mode all use of the file is direct; in mixed use another part of it is cached.",
    ),
    (
        "programs",
        "Whole programs",
        "As people run them. In mixed use some file is used both ways, and the bare run may lose data.",
    ),
    (
        "past",
        "Past the page cache",
        "What `route = \"direct\"` costs: `dd` reads, or writes and syncs, 64 MiB of which the page cache has nothing. The \
time is that of one of its calls; the figure's name says how long that is.",
    ),
    (
        "peers",
        "Beside others",
        "What else could be put around a program, as times as long as bare. *pass-through*: a library is preloaded that does \
nothing; *fenced*: Pagefence; *buffered*: Pagefence with `route = \"buffered\"`; *locks*: the program itself takes a lock of \
its description around each call (`fcntl`, `F_OFD_SETLKW`); *strace*: `strace -f -c`.",
    ),
    (
        "lock-table",
        "The lock table",
        "A pair is taking a range and letting go of it.",
    ),
];

const HEAD: &str = "# What Pagefence costs

Made by `scripts/bench render` of the results in [`performance/`](performance). A test fails when they differ.

![How many times as long calls and programs take under Pagefence](performance.svg)

What is compared runs in turn, bare and fenced, one right after the other, round by round; medians over the rounds are shown.
*times* is how many times as long fenced takes as bare, within a round, and *low..high* the smallest and the largest of these
ratios: what lies within is noise. *target* is how much it may be at most; what is **bold** misses it.
`scripts/bench --help` says what each figure is.
";

pub fn page(all: &All, rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    text += &format!("\n## On what\n\n{}", on_what(all));
    text += &format!("\n## Targets\n\n{}", targets(rows));
    for (what, title, about) in PARTS {
        let figures = match what {
            "io" => all.io.as_ref().map(|report| tables::io("io", report, rows)),
            "aio" => all
                .aio
                .as_ref()
                .map(|report| tables::io("aio", report, rows)),
            "programs" => all
                .programs
                .as_ref()
                .map(|report| tables::programs(report, rows)),
            "past" => all.past.as_ref().map(tables::past),
            "peers" => all.peers.as_ref().map(tables::peers),
            _ => all
                .lock_table
                .as_ref()
                .map(|r| tables::lock_table(&r.results)),
        };
        let figures = figures.unwrap_or_else(|| absent(what));
        text += &format!("\n## {title}\n\n{about}\n\n{figures}");
    }
    text
}

fn absent(what: &str) -> String {
    format!(
        "Not measured yet: `scripts/bench {what} --json docs/performance/{what}.json`, then `scripts/bench render`.\n"
    )
}

/// Of all results that are there.
pub fn abouts(all: &All) -> Vec<&About> {
    let six = [
        all.io.as_ref().map(|r| &r.about),
        all.aio.as_ref().map(|r| &r.about),
        all.programs.as_ref().map(|r| &r.about),
        all.past.as_ref().map(|r| &r.about),
        all.peers.as_ref().map(|r| &r.about),
        all.lock_table.as_ref().map(|r| &r.about),
    ];
    six.into_iter().flatten().collect()
}

/// The processors and what runs on them, in a few words.
pub fn machine(about: &About) -> String {
    let m = &about.machine;
    let kind = if m.virtual_machine {
        ", a virtual machine"
    } else {
        ""
    };
    format!(
        "{} processors {} ({} GiB{kind}), Linux {}",
        m.processors, m.processor, m.memory_gib, m.kernel
    )
}

fn on_what(all: &All) -> String {
    let abouts = abouts(all);
    if abouts.is_empty() {
        return "Nothing has been measured yet.\n".to_owned();
    }
    let line = |about: &&About| {
        let m = &about.machine;
        let others = m.others_used_processors.map_or("-".to_owned(), |used| {
            let disturbed = if used < DISTURBED {
                ""
            } else {
                ", **disturbed**"
            };
            format!("{used:.1}{disturbed}")
        });
        let milliseconds = about.milliseconds_per_figure;
        vec![
            format!("`{}`", about.what),
            about.date.clone(),
            machine(about),
            m.version.clone(),
            about.rounds.to_string(),
            milliseconds.map_or("-".to_owned(), |ms| format!("{ms} ms")),
            others,
        ]
    };
    let head = [
        "",
        "<date",
        "<machine",
        "<Pagefence",
        "rounds",
        "time a figure",
        "processors that others used",
    ];
    let mut text = words::table(&head, abouts.iter().map(line).collect());
    let mut filesystems: Vec<_> = abouts.iter().flat_map(|about| &about.filesystems).collect();
    filesystems.sort();
    filesystems.dedup();
    if !filesystems.is_empty() {
        let line = |f: &&Filesystem| {
            let options = format!("`{}`", f.options);
            vec![f.name.clone(), f.kind.clone(), f.device.clone(), options]
        };
        let lines = filesystems.iter().map(line).collect();
        text += "\n";
        text += &words::table(&["filesystem", "<kind", "<lies on", "<options"], lines);
    }
    text
}

fn targets(rows: &[Row]) -> String {
    let with: Vec<_> = rows.iter().filter(|row| row.target.is_some()).collect();
    if with.is_empty() {
        return "No figure that has a target has been measured yet.\n".to_owned();
    }
    let mut missed: Vec<_> = with.iter().filter(|row| row.misses()).collect();
    let over = |row: &Row| row.summary.ratio.median / row.target.unwrap_or(1.0);
    missed.sort_by(|a, b| over(b).total_cmp(&over(a)));
    let kept = with.len() - missed.len();
    let mut text = format!(
        "{kept} of the {} figures that have a target keep it.\n",
        with.len()
    );
    if missed.is_empty() {
        return text;
    }
    let line = |row: &&&Row| {
        let figure = match row.what {
            "programs" => format!("`{}`", row.name),
            _ => words::says(row.name).to_owned(),
        };
        vec![
            format!("{}: {figure}", row.what),
            row.filesystem.to_owned(),
            words::use_of(row.mixed).to_owned(),
            words::times(row.summary.ratio.median),
            words::range(row.summary.ratio),
            row.target.map_or(String::new(), words::times),
        ]
    };
    text += "These miss it, the furthest first:\n\n";
    let head = ["", "<filesystem", "<use", "times", "low..high", "target"];
    text += &words::table(&head, missed.iter().map(line).collect());
    text
}
