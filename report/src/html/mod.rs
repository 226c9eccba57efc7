//! The page: one file that needs no network. The verdict stands in it as text; all else is data that `page.js` draws, by
//! plotly.js (MIT), which the crate of that name brings with it.
//!
//! Nothing that a trace says is markup: text is escaped where it stands in HTML, data is JSON in which no `<` occurs, and
//! `page.js` makes text nodes of it, and escapes what it gives to plotly.js, which knows some tags. Beside that the
//! page's own policy lets nothing be loaded from anywhere.

mod map;
mod seen;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use serde::Serialize;
use trace::Kind;

use crate::account::{Account, Count, File, Missing, Names, Other, Range, Waits};
use crate::event::Event;
use map::{Drawn, MODES, Map};
use seen::{Comers, Programs, Shown, Sight};

/// How many files have a map; the others are counted. `--json` has all.
const FILES: usize = 24;
/// Rows of all maps, and of one at least.
const ROWS: usize = 48_000;
const ROWS_OF_ONE: usize = 2_000;
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
    /// See `Sight`.
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

/// Tells each event of the trace, in whatever order.
pub type Read<'r> = dyn FnMut(&mut dyn FnMut(&Event)) + 'r;

/// Writes the page. Err: it can't be written.
pub fn html(
    account: &Account,
    names: &Names,
    read: &mut Read,
    out: &mut dyn Write,
) -> io::Result<()> {
    let data = serde_json::to_string(&data(account, names, read)).map_err(io::Error::from)?;
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

/// Reads the trace twice: what a page draws has a place only where it is known how far all of it goes. So it takes no more room for
/// a long one.
fn data<'a>(account: &'a Account, names: &Names, read: &mut Read) -> Data<'a> {
    let shown = account.files.get(..FILES).unwrap_or(&account.files);
    let places = Shown::of(shown);
    let mut sights: Vec<Sight> = shown.iter().map(|_| Sight::default()).collect();
    let mut comers = Comers::default();
    read(&mut |event| {
        if let Some(sight) = places.place(event).and_then(|at| sights.get_mut(at)) {
            sight.add(event);
            comers.add(event, names);
        }
    });
    let programs = Programs::of(comers);
    let most = (ROWS / shown.len().max(1)).max(ROWS_OF_ONE);
    let mut maps: Vec<_> = sights.iter().map(|sight| Drawn::of(sight, most)).collect();
    read(&mut |event| {
        if let Some(map) = places.place(event).and_then(|at| maps.get_mut(at)) {
            map.add(event, programs.who(event, names));
        }
    });
    let began = sights.iter().filter_map(|sight| sight.times);
    let began = began.map(|(first, _)| first).min().unwrap_or(0);
    let files = shown.iter().zip(sights).zip(maps);
    let files = files.map(|((file, sight), map)| page(file, sight, map.finish(), began));
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

fn page(file: &File, sight: Sight, map: Map, began: u64) -> Page<'_> {
    Page {
        path: &file.path,
        dev: file.dev,
        ino: file.ino,
        mixed: file.mixed,
        counts: &file.counts,
        waits: &file.waits,
        wait_times: sight.wait_times,
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
