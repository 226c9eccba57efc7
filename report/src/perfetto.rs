//! A trace as viewers of traces read it (ui.perfetto.dev, chrome://tracing, speedscope): JSON in the trace event format.
//!
//! Each thread is a track, with what it told: as a slice what took time or met somebody, and calls that were recorded; as an
//! instant what else there is.
//! Who was met has a track for each thread that met him, with a slice as long, and an arrow leads from there to the thread
//! that was in his way: what the other party did itself isn't told. Rings are read one by one, and each event is
//! written as soon as its ring is in order: this takes the room of one ring, and of the tracks.
//!
//! The format's own rules: `ts` and `dur` are microseconds (`displayTimeUnit` would make some viewers take them for
//! nanoseconds, so it isn't there); slices of a track nest; an arrow's two ends have the same id, name and category and
//! bind to the slice around them, so each stands behind its slice.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use policy::Escaped;
use serde::Serialize;
use trace::Kind;

use crate::event::Event;
use crate::folder::Folder;
use crate::nest::Nest;

/// Threads have lower numbers (the kernel gives none from 2^22 on): so tracks that are no threads have these.
const NO_THREAD: u32 = 1 << 30;
/// What has no duration of its own and must be a slice, as arrows bind to slices only.
const MOMENT: u64 = 1_000;
/// No clock says more.
const LATEST: u64 = 1 << 62;

#[derive(Serialize)]
struct Args<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    mode: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    done: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    hint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_process: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    other_program: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    other_mode: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nanoseconds: Option<u64>,
}

#[derive(Serialize)]
struct Entry<'a> {
    ph: &'static str,
    pid: u32,
    tid: u32,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    name: &'a str,
    cat: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    /// An arrow's end binds to the slice around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'static str>,
    /// An instant is the thread's.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<&'a Args<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    ph: &'static str,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u32>,
    name: &'static str,
    args: Name<'a>,
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

/// Writes all of it. Err: it can't be written.
pub fn perfetto(folder: &mut Folder, out: &mut dyn Write) -> io::Result<()> {
    let rings = folder.one_by_one();
    let zero = rings.first().map_or(0, |ring| ring.began());
    let mut writer = Writer {
        out,
        zero,
        any: false,
        arrows: 0,
        tracks: HashMap::new(),
        beside: HashMap::new(),
        processes: HashSet::new(),
    };
    writer.out.write_all(b"{\"traceEvents\":[")?;
    for ring in &rings {
        // A process that becomes another program has a ring for each: the last name stays.
        writer.process(ring.process(), &Escaped(ring.program()).to_string())?;
    }
    for ring in &rings {
        let mut events = folder.read_one(ring);
        events.sort_by_key(begin);
        for event in &events {
            writer.event(event)?;
        }
    }
    let lost = folder.lost();
    let texts = lost.texts;
    write!(
        writer.out,
        "\n],\"otherData\":{{\"made_by\":\"pagefence report\",\"ts_0_in_nanoseconds_since_1970\":\"{zero}\",\"events_missing\":{},\"texts_missing\":{texts}}}}}\n",
        lost.records()
    )
}

/// A wait is told at its end, a call as of its beginning.
fn begin(event: &Event) -> u64 {
    if event.told.record.kind == Kind::Call {
        return event.time;
    }
    let took = event.told.record.nanoseconds.unwrap_or(0);
    event.time.saturating_sub(took)
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    zero: u64,
    any: bool,
    arrows: u64,
    /// By process and thread.
    tracks: HashMap<(u32, u32), Nest>,
    /// The track of who was met (a process), by the process and the thread that met him.
    beside: HashMap<(u32, u32, u32), u32>,
    /// Those that have a name.
    processes: HashSet<u32>,
}

impl Writer<'_> {
    fn entry(&mut self, entry: &impl Serialize) -> io::Result<()> {
        let before = if self.any { ",\n" } else { "\n" };
        self.any = true;
        self.out.write_all(before.as_bytes())?;
        serde_json::to_writer(&mut *self.out, entry).map_err(io::Error::from)
    }

    fn name(&mut self, pid: u32, tid: Option<u32>, name: &str) -> io::Result<()> {
        let what = match tid {
            None => "process_name",
            Some(_) => "thread_name",
        };
        self.entry(&Named {
            ph: "M",
            pid,
            tid,
            name: what,
            args: Name { name },
        })
    }

    fn process(&mut self, process: u32, name: &str) -> io::Result<()> {
        self.processes.insert(process);
        self.name(process, None, name)
    }

    /// Nanoseconds since zero.
    fn since_zero(&self, time: u64) -> u64 {
        time.saturating_sub(self.zero).min(LATEST)
    }

    /// Microseconds since zero.
    fn at(&self, time: u64) -> f64 {
        self.since_zero(time) as f64 / 1e3
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let record = &event.told.record;
        let text = |bytes: &[u8]| Escaped(bytes).to_string();
        let other = record.other.filter(|other| other.process != 0);
        let (file, mode) = (text(&event.told.path), text(&event.told.mode));
        let (reason, done) = (text(&event.told.reason), text(&event.told.done));
        let hint = text(&event.told.hint);
        let other_mode = text(&event.told.other_mode);
        let other_program = text(event.other_program().unwrap_or_default());
        let args = Args {
            file: &file,
            first: record.range.map(|range| range.0),
            last: record.range.map(|range| range.1),
            mode: &mode,
            reason: &reason,
            done: &done,
            hint: &hint,
            other_process: other.map(|other| other.process),
            other_program: &other_program,
            other_mode: &other_mode,
            result: record.call.map(|call| call.result),
            nanoseconds: record.nanoseconds,
        };
        let (process, thread) = (record.process, record.thread.min(NO_THREAD - 1));
        let name = text(&event.program);
        if !self.processes.contains(&process) {
            self.process(process, &name)?;
        }
        if !self.tracks.contains_key(&(process, thread)) {
            self.name(process, Some(thread), &name)?;
        }
        let from = begin(event);
        let to = from.saturating_add(record.nanoseconds.unwrap_or(0));
        let (word, place) = (record.kind.word(), (process, thread));
        if let Some(call) = record.call {
            // Too short for the clock: shown all the same.
            let span = (from, to.max(from.saturating_add(1)));
            return self.slice(place, (call.what.word(), word), span, &args);
        }
        let Some(other) = other else {
            return match record.nanoseconds {
                Some(1..) => self.slice(place, (word, word), (from, to), &args),
                _ => self.instant(place, word, from, &args),
            };
        };
        let span = (from, to.max(from.saturating_add(MOMENT)));
        let met = self.track_beside(other.process, place, (&name, &other_program))?;
        self.slice(met, ("in the way", word), span, &args)?;
        self.arrow("s", met, from)?;
        self.slice(place, (word, word), span, &args)?;
        self.arrow("f", place, from)?;
        self.arrows += 1;
        Ok(())
    }

    /// The track of who is met by that thread, named after both.
    fn track_beside(
        &mut self,
        met: u32,
        (process, thread): (u32, u32),
        (name, name_of_met): (&str, &str),
    ) -> io::Result<(u32, u32)> {
        let next = self.beside.len() as u32;
        let key = (met, process, thread);
        if let Some(track) = self.beside.get(&key) {
            return Ok((met, *track));
        }
        let track = NO_THREAD.saturating_add(next);
        self.beside.insert(key, track);
        if !self.processes.contains(&met) {
            self.process(met, name_of_met)?;
        }
        let says = format!("in the way of {name} (thread {thread})");
        self.name(met, Some(track), &says)?;
        Ok((met, track))
    }

    fn slice(
        &mut self,
        (pid, tid): (u32, u32),
        (name, cat): (&'static str, &'static str),
        (from, to): (u64, u64),
        args: &Args,
    ) -> io::Result<()> {
        let to = self.tracks.entry((pid, tid)).or_default().end(from, to);
        let took = self.since_zero(to).saturating_sub(self.since_zero(from));
        self.entry(&Entry {
            ph: "X",
            pid,
            tid,
            ts: self.at(from),
            dur: Some(took as f64 / 1e3),
            name,
            cat,
            id: None,
            bp: None,
            s: None,
            args: Some(args),
        })
    }

    fn instant(
        &mut self,
        (pid, tid): (u32, u32),
        word: &'static str,
        at: u64,
        args: &Args,
    ) -> io::Result<()> {
        self.tracks.entry((pid, tid)).or_default();
        self.entry(&Entry {
            ph: "i",
            pid,
            tid,
            ts: self.at(at),
            dur: None,
            name: word,
            cat: word,
            id: None,
            bp: None,
            s: Some("t"),
            args: Some(args),
        })
    }

    /// One of its two ends.
    fn arrow(&mut self, ph: &'static str, (pid, tid): (u32, u32), at: u64) -> io::Result<()> {
        self.entry(&Entry {
            ph,
            pid,
            tid,
            ts: self.at(at),
            dur: None,
            name: "in the way",
            cat: "arrow",
            id: Some(self.arrows + 1),
            bp: (ph == "f").then_some("e"),
            s: None,
            args: None,
        })
    }
}
