//! One thing that was told, and a line of JSON about it.

use std::fmt::Write;
use std::sync::Arc;

use policy::Escaped;
use trace::{Kind, Told};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// CLOCK_REALTIME in nanoseconds.
    pub time: u64,
    /// The file name of the executable.
    pub program: Arc<[u8]>,
    pub told: Told,
}

impl Event {
    /// The other party's program, as the kernel calls it.
    pub fn other_program(&self) -> Option<&[u8]> {
        let name = &self.told.record.other.as_ref()?.program;
        name.split(|byte| *byte == 0).next()
    }

    /// Whether it says how a file was used.
    pub fn is_of_a_file(&self) -> bool {
        let elsewhere = [Kind::Uncovered, Kind::TableError, Kind::TraceError];
        let record = &self.told.record;
        record.file.is_some() && !elsewhere.contains(&record.kind)
    }

    /// An object on one line. What there isn't has no key.
    pub fn json(&self) -> String {
        let record = &self.told.record;
        let mut line = Line(String::with_capacity(256));
        let (seconds, rest) = (self.time / 1_000_000_000, self.time % 1_000_000_000);
        // Writing to a String can't fail.
        let _ = write!(line.0, "{{\"time\":{seconds}.{rest:09}");
        line.text("event", record.kind.word().as_bytes());
        line.number("process", Some(record.process.into()));
        line.number("thread", Some(record.thread.into()));
        line.word("program", &self.program);
        line.text("file", &self.told.path);
        line.number("dev", record.file.map(|file| file.0));
        line.number("ino", record.file.map(|file| file.1));
        line.number("first", record.range.map(|range| range.0));
        line.number("last", record.range.map(|range| range.1));
        if let Some(call) = record.call {
            line.word("call", call.what.word().as_bytes());
            line.text("door", call.door.word().as_bytes());
        }
        line.text("mode", &self.told.mode);
        line.number("other_process", record.other.map(|o| o.process.into()));
        if let Some(program) = self.other_program() {
            line.word("other_program", program);
        }
        line.text("other_mode", &self.told.other_mode);
        line.text("reason", &self.told.reason);
        line.text("done", &self.told.done);
        line.text("hint", &self.told.hint);
        if let Some(call) = record.call {
            let _ = write!(line.0, ",\"result\":{}", call.result);
        }
        line.number("nanoseconds", record.nanoseconds);
        line.0.push('}');
        line.0
    }
}

/// An object in the making.
struct Line(String);

impl Line {
    fn number(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            let _ = write!(self.0, ",\"{key}\":{value}");
        }
    }

    /// Nothing where it is empty.
    fn text(&mut self, key: &str, value: &[u8]) {
        if !value.is_empty() {
            self.word(key, value);
        }
    }

    fn word(&mut self, key: &str, value: &[u8]) {
        let value = serde_json::Value::String(Escaped(value).to_string());
        let _ = write!(self.0, ",\"{key}\":{value}");
    }
}
