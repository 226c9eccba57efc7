//! What a program did in a fence, and what the library told of it.

use crate::fence::Fence;
use crate::run::{Outcome, run};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

pub struct Seen {
    pub outcome: Outcome,
    pub events: Vec<Value>,
}

impl Seen {
    /// Runs it in the fence, whose trace holds what earlier ones did, too.
    pub fn of(command: &mut Command, fence: &Fence, limit: Duration) -> Seen {
        fence.apply_traced(command);
        Seen {
            outcome: run(command, limit).expect("a program that starts"),
            events: fence.events(),
        }
    }

    /// The events of this kind.
    pub fn told(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|e| e["event"] == kind).collect()
    }

    /// Those whose reason has this in it.
    pub fn told_why(&self, kind: &str, reason: &str) -> usize {
        let has = |e: &&&Value| e["reason"].as_str().is_some_and(|r| r.contains(reason));
        self.told(kind).iter().filter(has).count()
    }

    /// Everything, for a failure's message.
    pub fn report(&self) -> String {
        let lines = self.events.iter().map(|e| format!("{e}\n"));
        format!("{}\n{}", self.outcome.report(), lines.collect::<String>())
    }
}
