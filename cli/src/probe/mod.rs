//! `pagefence probe`: what direct I/O really does in a place, by behaviour and not by name, and what Pagefence does because
//! of it.

mod alignment;
pub mod args;
mod cache;
mod findings;
mod flags;
mod folios;
mod place;

use kernel::errors;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use policy::Escaped;
use serde::Serialize;

use crate::doctor::diagnosis::{Section, State, sections};
use crate::explain::filesystem_of;
use crate::failure::{Failure, OWN_FAILURE, USAGE};
use crate::say;
use crate::say::Shown;
use alignment::Alignment;
use args::ProbeArgs;
use place::Place;

/// Something that is relied on isn't so.
const UNSOUND: i32 = 1;

/// None: it couldn't be tried, or nothing was seen.
#[derive(Serialize)]
pub struct Measured {
    takes_direct: bool,
    write_bypasses: Option<bool>,
    read_bypasses: Option<bool>,
    read_keeps_pages: Option<bool>,
    dirty_page_replaced: Option<bool>,
    mapped_page_replaced: Option<bool>,
    folio_kib: Option<u64>,
    error_signal: Option<&'static str>,
    attempts: u64,
    alignment: Option<Alignment>,
    flags: BTreeMap<&'static str, flags::Both>,
    kernel: BTreeMap<&'static str, bool>,
}

#[derive(Serialize)]
struct Report {
    path: String,
    /// Where the file was made.
    directory: String,
    filesystem: &'static str,
    sound: bool,
    verdict: String,
    measured: Measured,
    sections: Vec<Section>,
}

pub fn probe(arguments: &ProbeArgs) -> Result<i32, Failure> {
    let (path, directory) = resolve(&arguments.path)?;
    let shown = directory.shown();
    let failed = |error: io::Error| Failure::of(&errors::CANT_BE_TRIED, &[&shown, &error]);
    let place = Place::new(&directory).map_err(failed)?;
    let measured = measure(&place).map_err(failed)?;
    let filesystem = filesystem_of(&directory).map_err(failed)?;
    let sections = findings::of(&measured, filesystem, path != directory);
    let mut all = sections.iter().flat_map(|section| &section.findings);
    let hole = all.find(|finding| finding.state == State::Uncovered);
    let verdict = findings::verdict(&measured, filesystem, hole);
    let text =
        |path: &Path| Escaped(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())).to_string();
    let report = Report {
        sound: hole.is_none(),
        verdict: format!("{}: {verdict}", text(&directory)),
        path: text(&path),
        directory: text(&directory),
        filesystem,
        measured,
        sections,
    };
    match arguments.json {
        true => say::answer(serde_json::to_string(&report).unwrap_or_default())?,
        false => say::answer(show(&report))?,
    }
    Ok(if report.sound { 0 } else { UNSOUND })
}

fn show(report: &Report) -> String {
    format!("{}\n{}", report.verdict, sections(&report.sections))
}

/// What was given, and where it is tried.
fn resolve(given: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    use std::io::ErrorKind::{InvalidInput, NotADirectory, NotFound};
    let failed = |error: io::Error| {
        let code = match error.kind() {
            NotFound | NotADirectory | InvalidInput => USAGE,
            _ => OWN_FAILURE,
        };
        Failure::new(code, format!("{}: {error}", given.shown()), "")
    };
    let path = std::fs::canonicalize(given).map_err(failed)?;
    let found = path.metadata().map_err(failed)?;
    if found.is_dir() {
        return Ok((path.clone(), path));
    }
    match (found.is_file(), path.parent()) {
        (true, Some(directory)) => Ok((path.clone(), directory.to_owned())),
        _ => Err(Failure::of(&errors::NOT_TRIED, &[&given.shown()])),
    }
}

fn measure(place: &Place) -> io::Result<Measured> {
    // Before anything is out of the cache.
    let kernel = flags::of_kernel(place.file());
    let direct = place.open(true).ok();
    let direct = direct.as_ref();
    let mut measured = Measured {
        takes_direct: direct.is_some(),
        write_bypasses: direct
            .map(|file| cache::write_bypasses(place, file))
            .transpose()?,
        read_bypasses: direct
            .map(|file| cache::read_bypasses(place, file))
            .transpose()?,
        read_keeps_pages: direct
            .map(|file| cache::read_keeps_pages(place, file))
            .transpose()?,
        dirty_page_replaced: direct
            .map(|file| cache::dirty_page_replaced(place, file))
            .transpose()?,
        mapped_page_replaced: direct
            .map(|file| cache::mapped_page_replaced(place, file))
            .transpose()?,
        folio_kib: folios::folio_kib(place)?,
        error_signal: None,
        attempts: 0,
        alignment: direct.map(alignment::measure).transpose()?,
        flags: flags::of_calls(place.file(), direct)?,
        kernel,
    };
    // Last: it leaves errors behind.
    if let Some(direct) = direct {
        let told = folios::error_signal(place, direct)?;
        (measured.error_signal, measured.attempts) = (told.by, told.attempts);
    }
    Ok(measured)
}
