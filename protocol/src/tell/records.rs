//! Events as text on stderr (filtered by `PAGEFENCE_LOG`).
//!
//! A record is built in a buffer on a stack of ours (`scratch`) and leaves in a single write: no allocation, no lock, also
//! in a signal handler.

use core::ffi::CStr;
use core::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Metadata, span};

use crate::tell::events::{self, Event, Kind};
use crate::tell::stderr::{self, Line};
use crate::tell::told::{self, Mark};
use crate::tell::{counters, trace};

/// In the constructor, from the environment.
pub fn init(log: Option<&str>, trace: Option<&CStr>, summary: Option<&CStr>) {
    stderr::init();
    for part in log.unwrap_or("").split(',').filter(|p| !p.is_empty()) {
        events::set_level(part.trim());
    }
    summary.into_iter().for_each(counters::init);
    let _ = tracing::dispatcher::set_global_default(tracing::Dispatch::new(Subscriber));
    if let Some(Err(reason)) = trace.map(trace::open) {
        events::emit(&Event {
            reason,
            done: "no trace is written; check PAGEFENCE_TRACE (or --trace)",
            ..Event::new(Kind::TraceError)
        });
    }
}

/// The one subscriber.
struct Subscriber;

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Plain {
            line: Line::new(),
            wanted: false,
            mark: Mark::NOTHING,
        };
        let _ = text.line.write_str("pagefence: ");
        event.record(&mut text);
        text.line.finish("\n");
        if text.wanted && told::first(text.mark) {
            stderr::write(&text.line);
        }
    }
}

/// `pagefence: fallback file=/a/b first=0 ...`
struct Plain {
    line: Line,
    wanted: bool,
    /// Of the kind, the file and the pair of programs.
    mark: Mark,
}

/// What makes an event another one.
const DISTINCT: [&str; 6] = ["event", "reason", "dev", "ino", "file", "other_program"];

impl Plain {
    fn note(&mut self, field: &Field, value: &[u8]) {
        if DISTINCT.contains(&field.name()) {
            self.mark = self.mark.and(value);
        }
    }
}

impl Visit for Plain {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, &value.to_ne_bytes());
        let _ = write!(self.line, " {}={value}", field.name());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.wanted = events::is_wanted(value);
            self.note(field, value.as_bytes());
            let _ = self.line.write_str(value);
        } else {
            self.record_debug(field, &format_args!("{value}"));
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut blanks = Blanks(false);
        let _ = write!(blanks, "{value:?}");
        let quote = if blanks.0 { "\"" } else { "" };
        let _ = write!(self.line, " {}={quote}", field.name());
        let before = self.line.len();
        let _ = write!(OneLine(&mut self.line), "{value:?}");
        if DISTINCT.contains(&field.name()) {
            let said = self.line.as_bytes().get(before..).unwrap_or(&[]);
            self.mark = self.mark.and(said);
        }
        let _ = self.line.write_str(quote);
    }
}

/// Whether there is a blank in what is written.
struct Blanks(bool);

impl Write for Blanks {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 |= text.contains(' ');
        Ok(())
    }
}

/// A path may have a newline in it: a record is one line all the same, and says nothing in the library's name.
struct OneLine<'a>(&'a mut Line);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(self.0, "\\x{:02x}", u32::from(c)),
            c => self.0.write_char(c),
        })
    }
}
