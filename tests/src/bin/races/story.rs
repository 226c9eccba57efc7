//! The words of the demonstration: what is shown, and what was lost before the reader's eyes.

use crate::apps::App;
use crate::cell::{Cell, Count};
use crate::report::Paint;

const OPENING: &str = "\
Linux has two ways to a file's bytes: through the page cache (read, write, mmap) and past it
(O_DIRECT). Used on one file at a time by several processes, they are not kept coherent. The
programs below do just that. They are ordinary programs that know nothing of Pagefence; each
knows what it wrote, and checks that no byte of it is lost, stale or torn.

Each runs twice on each filesystem, real ones on loop devices:
    bare      PROGRAM DIR
    fenced    pagefence run -- PROGRAM DIR
An anomaly is something that no order of the program's calls can explain. \"For good\" means
that the device holds it, so that neither sync nor a restart brings the data back.";

pub fn opening(paint: Paint) -> String {
    format!(
        "{}\n\n{OPENING}",
        paint.bold("Pagefence: the same programs, bare and fenced")
    )
}

pub fn introduce(app: &App, about: &str, paint: Paint) -> String {
    let mut text = format!(
        "\n{}\n    {}",
        paint.bold(&app.name),
        wrap(about, 88, "\n    ")
    );
    if app.needs_atomic {
        text += "\n    (Fenced with --isolation atomic: every call's whole range at once.)";
    }
    if app.needs_syscalls {
        text += "\n    (Fenced with coverage = \"syscalls\": also what it asks of the kernel without libc.)";
    }
    if app.always_clean {
        text += "\n    (The bare kernel keeps it too: here a fence must not break it.)";
    }
    text
}

/// What happened on one filesystem, with the first thing that was lost.
pub fn tell(cell: &Cell, paint: Paint) -> String {
    let start = format!("    {:8}", cell.filesystem);
    if let Some(why) = &cell.not_applicable {
        return format!("{start} {}", paint.faint(&format!("doesn't apply: {why}")));
    }
    let bare = cell
        .bare
        .as_ref()
        .map_or(paint.bad("failed"), |count| lost(count, paint));
    let fenced = cell
        .fenced
        .as_ref()
        .map_or(paint.bad("failed"), |count| lost(count, paint));
    let mut text = format!("{start} bare: {bare}; fenced: {fenced}");
    let seen = cell
        .bare
        .iter()
        .filter(|c| c.anomalies > 0)
        .find_map(|c| c.words.first());
    if let Some(words) = seen {
        text += &format!(
            "\n             {}",
            paint.faint(&wrap(words, 84, "\n             "))
        );
    }
    text
}

fn lost(count: &Count, paint: Paint) -> String {
    match (count.anomalies, count.persistent) {
        (0, _) => paint.good(&format!("0 anomalies in {} operations", count.ops)),
        (n, 0) => paint.bad(&format!("{n} anomalies in {} operations", count.ops)),
        (n, p) => paint.bad(&format!(
            "{n} anomalies in {} operations, {p} for good",
            count.ops
        )),
    }
}

pub fn closing(cells: &[Cell], paint: Paint) -> String {
    let sum = |get: fn(&Cell) -> &Option<Count>| -> u64 {
        cells
            .iter()
            .filter_map(|cell| get(cell).as_ref())
            .map(|count| count.anomalies)
            .sum()
    };
    let (bare, fenced) = (sum(|c| &c.bare), sum(|c| &c.fenced));
    let verdict = match fenced {
        0 => paint.good("0 under pagefence run"),
        n => paint.bad(&format!("{n} under pagefence run")),
    };
    format!(
        "{} on the bare kernel, {verdict}.",
        paint.bad(&format!("{bare} anomalies"))
    )
}

fn wrap(text: &str, width: usize, newline: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join(newline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_between_words() {
        assert_eq!(wrap("one two  three", 7, "\n"), "one two\nthree");
        assert_eq!(wrap("", 7, "\n"), "");
    }
}
