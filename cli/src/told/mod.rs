//! `pagefence report`: what a trace tells.

pub mod args;
pub mod progress;
pub mod put;

use kernel::errors;
use std::fmt::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use report::{Account, Disorder, Event, Folder, InOrder, Names, OneRing, Sums};
use trace::Lost;

use crate::failure::Failure;
use crate::page;
use crate::say::{Shown, answer, tell};
use args::ReportArgs;
use progress::Progress;
use put::put;

/// How often is looked for more.
const EVERY: Duration = Duration::from_millis(200);

pub fn report(arguments: &ReportArgs) -> Result<i32, Failure> {
    let path = arguments.folder.shown();
    let mut folder = open(&arguments.folder)?;
    if arguments.follow {
        return follow(folder);
    }
    show(&mut folder, arguments)?;
    let whole = !tell_problems(&mut folder);
    tell_lost(&folder.lost());
    if folder.rings() == 0 && whole {
        tell(format_args!(
            "pagefence: no ring is in {path}: no fenced process has told anything there"
        ));
    }
    Ok(i32::from(!whole))
}

/// The trace that an argument names.
pub fn open(folder: &Path) -> Result<Folder, Failure> {
    Folder::open(folder).map_err(|error| {
        let shown = folder.shown();
        match folder.is_file() {
            true => Failure::of(&errors::NO_FOLDER, &[&shown]),
            false => Failure::of(&errors::NO_TRACE, &[&shown, &error]),
        }
    })
}

/// All that there is, in the form that is asked for.
fn show(folder: &mut Folder, arguments: &ReportArgs) -> Result<(), Failure> {
    if let Some(path) = &arguments.perfetto {
        return put(path, |out| report::perfetto(folder, out));
    }
    if arguments.ndjson {
        return in_order(folder);
    }
    let (rings, names, account) = account(folder);
    if account.missing.left_out > 0 {
        tell(format_args!(
            "pagefence: {} events are not told in full: of more files, programs and places than there is room for",
            account.missing.left_out
        ));
    }
    if let Some(path) = &arguments.html {
        let mut read = |each: &mut dyn FnMut(&Event)| {
            Progress::of(&rings).each(folder, &rings, |event| each(&event));
        };
        return put(path, |out| report::html(&account, &names, &mut read, out));
    }
    match arguments.json {
        true => answer(account.json()),
        false => answer(page::page(&account)),
    }
}

/// Ring by ring: what many tell needs the room of one.
fn account(folder: &mut Folder) -> (Vec<OneRing>, Names, Account) {
    let rings = folder.one_by_one();
    let names = Names::of_rings(&rings);
    let mut sums = Sums::new(names.clone());
    Progress::of(&rings).each(folder, &rings, |event| sums.add(&event));
    let account = sums.account(folder.rings(), &folder.lost());
    (rings, names, account)
}

/// Each event as a line.
fn in_order(folder: &mut Folder) -> Result<(), Failure> {
    let rings = folder.one_by_one();
    let mut order = InOrder::default();
    Progress::of(&rings).each_ring(&rings, |ring| {
        order.begin_ring();
        folder.each_of(ring, |event| order.add(&event));
    });
    let mut lines = Lines::default();
    let Disorder { late, gone } = order.tell(folder, &rings, |event| lines.add(event))?;
    lines.end()?;
    if late > 0 {
        tell(format_args!(
            "pagefence: {late} events stand later than they should: their rings are in no order that there is room to mend"
        ));
    }
    if gone > 0 {
        tell(format_args!(
            "pagefence: {gone} events were overwritten by later ones while this read them"
        ));
    }
    Ok(())
}

/// Until this is interrupted, or nobody reads any more.
fn follow(mut folder: Folder) -> Result<i32, Failure> {
    let mut lost = Lost::default();
    loop {
        let mut lines = Lines::default();
        folder
            .read(false)
            .iter()
            .try_for_each(|event| lines.add(event))?;
        lines.end()?;
        tell_problems(&mut folder);
        if folder.lost() != lost {
            lost = folder.lost();
            tell_lost(&lost);
        }
        sleep(EVERY);
    }
}

/// Events on their way out, some together.
#[derive(Default)]
struct Lines(String);

impl Lines {
    const TOGETHER: usize = 64 << 10;

    fn add(&mut self, event: &Event) -> Result<(), Failure> {
        // Writing to a String can't fail.
        let _ = writeln!(self.0, "{}", event.json());
        match self.0.len() < Lines::TOGETHER {
            true => Ok(()),
            false => self.end(),
        }
    }

    fn end(&mut self) -> Result<(), Failure> {
        let text = std::mem::take(&mut self.0);
        match text.is_empty() {
            true => Ok(()),
            false => answer(text),
        }
    }
}

/// Whether there were any.
pub fn tell_problems(folder: &mut Folder) -> bool {
    let problems = folder.take_problems();
    for problem in &problems {
        tell(format_args!("pagefence: {problem}"));
    }
    !problems.is_empty()
}

fn tell_lost(lost: &Lost) {
    let kinds = [
        (
            lost.overwritten,
            "overwritten by later ones (the ring was full)",
        ),
        (
            lost.torn,
            "not finished (the process was killed) or damaged",
        ),
        (lost.dropped, "never written (no room for them)"),
        (lost.cut_off, "cut off with the end of their ring"),
    ];
    let said = kinds.iter().filter(|(count, _)| *count > 0);
    let said: Vec<_> = said.map(|(count, how)| format!("{count} {how}")).collect();
    if !said.is_empty() {
        tell(format_args!(
            "pagefence: events are missing: {}",
            said.join(", ")
        ));
    }
    if lost.texts > 0 {
        tell(format_args!(
            "pagefence: {} names and reasons are missing: the ring had no room for more",
            lost.texts
        ));
    }
}
