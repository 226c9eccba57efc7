//! The page: one file that needs no network. The verdict stands in it as text; all else is data that `page.js` draws, by
//! plotly.js (MIT), which the crate of that name brings with it.
//!
//! Nothing that a trace says is markup: text is escaped where it stands in HTML, data is JSON in which no `<` occurs, and
//! `page.js` makes text nodes of it, and escapes what it gives to plotly.js, which knows some tags. Beside that the
//! page's own policy lets nothing be loaded from anywhere.

mod map;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use serde::Serialize;
use trace::Kind;

use crate::account::{Account, Count, File, Missing, Names, Other, Range, Waits, text};
use crate::event::Event;
use map::{MODES, Map};

/// How many files have a map; the others are counted. `--json` has all.
const FILES: usize = 24;
/// Rows of all maps, and of one at least.
const ROWS: usize = 48_000;
const ROWS_OF_ONE: usize = 2_000;
/// Programs that have a name in maps; the rest are one.
const PROGRAMS: usize = 40;
/// Lines of a table.
const LINES: usize = 40;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const MAP_SCRIPT: &str = include_str!("map.js");

#[derive(Serialize)]
struct Data<'a> {
    programs: Vec<String>,
    modes: [&'static str; 7],
    kinds: Vec<&'static str>,
    events: usize,
    rings: usize,
    missing: Missing,
    files_left_out: usize,
    others: &'a [Other],
    others_left_out: usize,
    files: Vec<Page<'a>>,
}

#[derive(Serialize)]
struct Page<'a> {
    path: &'a str,
    dev: u64,
    ino: u64,
    mixed: bool,
    counts: &'a [Count],
    waits: &'a Waits,
    /// How many waits took at least 2^n nanoseconds, and less than twice that.
    wait_times: Vec<u64>,
    fallbacks: &'a [Count],
    ranges: &'a [Range],
    /// As text: not every number is one that JavaScript has.
    place: String,
    place_step: u64,
    places: u64,
    /// Nanoseconds since 1970 of the first step, and since the first event of the trace.
    time: u64,
    time_step: u64,
    times: u64,
    left_out: u64,
    rows: Vec<[u64; 8]>,
}

/// Writes the page. Err: it can't be written.
pub fn html(account: &Account, events: &[Event], out: &mut dyn Write) -> io::Result<()> {
    let data = serde_json::to_string(&data(account, events)).map_err(io::Error::from)?;
    let data = data.replace('<', "\\u003c");
    let (verdict, hint) = (escaped(&account.verdict), escaped(&account.hint));
    let drawing =
        drawing().ok_or_else(|| io::Error::other("there is no plotly.js in this build"))?;
    for part in [
        HEAD,
        STYLE,
        BODY,
        &verdict,
        "</p>\n<p id=\"hint\">",
        &hint,
        REST,
        &data,
        "</script>\n<script>",
        &drawing,
        "</script>\n<script>",
        MAP_SCRIPT,
        "</script>\n<script>",
        SCRIPT,
        "</script>\n</body>\n</html>\n",
    ] {
        out.write_all(part.as_bytes())?;
    }
    Ok(())
}

const HEAD: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
    <link rel=\"icon\" href=\"data:,\">\n<title>Pagefence report</title>\n<style>\n";
const BODY: &str = "</style>\n</head>\n<body>\n<header>\n<h1>Pagefence report</h1>\n\
    <label>Colours <select id=\"theme\"><option value=\"\">as the system</option><option value=\"light\">light</option><option value=\"dark\">dark</option></select></label>\n\
    </header>\n<section id=\"said\" aria-label=\"Verdict\">\n<p id=\"verdict\">";
const REST: &str = concat!(
    "</p>\n</section>\n",
    include_str!("page.html"),
    "<script type=\"application/json\" id=\"data\">"
);

/// plotly.js alone, of the two that the crate has: nothing here is a formula.
fn drawing() -> Option<String> {
    let both = plotly::Plot::offline_js_sources();
    let (first, _) = both.split_once("</script>")?;
    let (_, script) = first.split_once('>')?;
    Some(script.to_owned())
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

fn data<'a>(account: &'a Account, events: &[Event]) -> Data<'a> {
    let names = Names::of(events);
    let shown = account.files.get(..FILES).unwrap_or(&account.files);
    let by_file = by_file(shown, events);
    let programs = Programs::of(by_file.values().flatten().copied(), &names);
    let began = by_file.values().filter_map(|of| of.first());
    let began = began.map(|event| event.time).min().unwrap_or(0);
    let most = (ROWS / shown.len().max(1)).max(ROWS_OF_ONE);
    let none = Vec::new();
    let files = shown.iter().map(|file| {
        let of = by_file.get(&(file.dev, file.ino)).unwrap_or(&none);
        let map = Map::of(of, |event| programs.who(event, &names), most);
        page(file, of, map, began)
    });
    Data {
        files: files.collect(),
        programs: programs.names,
        modes: MODES,
        kinds: Kind::ALL.iter().map(|kind| kind.word()).collect(),
        events: account.events,
        rings: account.rings,
        missing: account.missing,
        files_left_out: account.files.len() - shown.len(),
        others: account.others.get(..LINES).unwrap_or(&account.others),
        others_left_out: account.others.len().saturating_sub(LINES),
    }
}

/// The events of those files, as the account has them.
fn by_file<'e>(files: &[File], events: &'e [Event]) -> HashMap<(u64, u64), Vec<&'e Event>> {
    let shown = files.iter().map(|file| ((file.dev, file.ino), Vec::new()));
    let mut all: HashMap<_, Vec<&Event>> = shown.collect();
    for event in events.iter().filter(|event| event.is_of_a_file()) {
        let of = event.told.record.file.and_then(|file| all.get_mut(&file));
        if let Some(of) = of {
            of.push(event);
        }
    }
    all
}

fn page<'a>(file: &'a File, events: &[&Event], map: Map, began: u64) -> Page<'a> {
    Page {
        path: &file.path,
        dev: file.dev,
        ino: file.ino,
        mixed: file.mixed,
        counts: &file.counts,
        waits: &file.waits,
        wait_times: wait_times(events),
        fallbacks: file.fallbacks.get(..LINES).unwrap_or(&file.fallbacks),
        ranges: &file.ranges,
        place: map.place.to_string(),
        place_step: 1 << map.place_shift,
        places: map.places,
        time: map.time.saturating_sub(began),
        time_step: 1 << map.time_shift,
        times: map.times,
        left_out: map.left_out,
        rows: map.rows,
    }
}

fn wait_times(events: &[&Event]) -> Vec<u64> {
    let mut all = Vec::new();
    let waits = events.iter().filter(|e| e.told.record.kind == Kind::Wait);
    for took in waits.filter_map(|e| e.told.record.nanoseconds) {
        let at = took.checked_ilog2().unwrap_or(0) as usize;
        if all.len() <= at {
            all.resize(at + 1, 0);
        }
        if let Some(count) = all.get_mut(at) {
            *count += 1;
        }
    }
    all
}

/// The programs that maps know, by number.
struct Programs {
    names: Vec<String>,
    numbers: HashMap<Vec<u8>, u64>,
}

impl Programs {
    /// The most frequent first.
    fn of<'e>(events: impl Iterator<Item = &'e Event>, names: &Names) -> Programs {
        let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
        let mut others: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for event in events {
            *counts.entry(&event.program).or_default() += 1;
            if let Some(other) = names.other(event) {
                match others.get_mut(other) {
                    Some(count) => *count += 1,
                    None => drop(others.insert(other.to_vec(), 1)),
                }
            }
        }
        for (name, count) in counts {
            *others.entry(name.to_vec()).or_default() += count;
        }
        let mut all: Vec<_> = others.into_iter().collect();
        all.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
        let rest = all.split_off(all.len().min(PROGRAMS));
        let numbered = all.iter().zip(0..);
        let numbers = numbered.map(|((name, _), number)| (name.clone(), number));
        let mut names: Vec<String> = all.iter().map(|(name, _)| text(name)).collect();
        if !rest.is_empty() {
            names.push(format!("{} more programs", rest.len()));
        }
        Programs {
            numbers: numbers.collect(),
            names,
        }
    }

    fn number(&self, name: &[u8]) -> u64 {
        let rest = self.numbers.len() as u64;
        self.numbers.get(name).copied().unwrap_or(rest)
    }

    fn who(&self, event: &Event, names: &Names) -> map::Who {
        let other = names.other(event).map(|other| self.number(other));
        (self.number(&event.program), other)
    }
}
