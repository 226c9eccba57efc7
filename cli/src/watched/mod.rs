//! A lock table that is watched: looked at again and again, with rates between two looks and, if there is a trace, what it
//! tells meanwhile.

mod events;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lock_table::{COUNTS_TO, SlotCount};
use serde::Serialize;

pub use events::{Counts, Events};

use crate::failure::Failure;
use crate::locks::{self, Ages, Lock};
use crate::scan::owner::Users;
use crate::tables::account::Account;
use crate::tables::files::Names;
use crate::tables::live::{self, Live};
use crate::tables::mapped::Mapped;

pub struct Watch {
    path: PathBuf,
    named: Option<PathBuf>,
    live: Option<Live>,
    users: Users,
    names: Names,
    ages: Ages,
    before: Option<Before>,
    events: Option<Events>,
}

/// The last look.
struct Before {
    at_ns: u64,
    slots: BTreeMap<u32, SlotCount>,
    queued: u64,
}

/// What there is now.
#[derive(Serialize)]
pub struct Now {
    pub table: String,
    /// None: nobody has made the table yet, or it can't be looked at now.
    pub account: Option<Account>,
    pub problem: Option<String>,
    pub locks: Vec<Lock>,
    /// Since the last look.
    pub rates: Option<Rates>,
    /// What the trace has told since the watch began; none without one.
    pub events: Option<Counts>,
}

#[derive(Serialize, Default)]
pub struct Rates {
    pub seconds: f64,
    /// Claims that were announced: calls, of which those that wait count more than once.
    pub announced_per_second: f64,
    /// Claims that had to queue.
    pub queued_per_second: f64,
    /// By process.
    pub processes: BTreeMap<u32, f64>,
}

impl Watch {
    /// Of the table that is named, or that programs started here would join.
    pub fn new(named: Option<&Path>, trace: Option<&Path>) -> Result<Watch, Failure> {
        let (path, live) = live::open(named)?;
        Ok(Watch {
            path,
            named: named.map(Path::to_owned),
            live,
            users: Users::read(),
            names: Names::default(),
            ages: Ages::default(),
            before: None,
            events: trace.map(Events::open).transpose()?,
        })
    }

    pub fn look(&mut self) -> Now {
        let mut now = Now {
            table: crate::say::plain(self.path.as_os_str().as_encoded_bytes()),
            account: None,
            problem: None,
            locks: Vec::new(),
            rates: None,
            events: self.events.as_mut().map(|events| events.read().clone()),
        };
        if self.live.is_none() {
            match live::open(self.named.as_deref()) {
                Ok((_, live)) => self.live = live,
                Err(failure) => now.problem = Some(failure.message),
            }
        }
        let Some(live) = &self.live else {
            now.problem
                .get_or_insert_with(|| "no fenced program has made it yet".to_owned());
            return now;
        };
        let mapped = Mapped::look(std::slice::from_ref(&live.path));
        match live.look(&self.users, &mapped) {
            Err(error) => {
                now.problem = Some(error.to_string());
                // It may have been made anew.
                (self.live, self.before, self.ages) = (None, None, Ages::default());
            }
            Ok(moment) => {
                self.ages.look(&moment);
                let account = Account::of(live, &moment, &mut self.names);
                now.locks = locks::all(&moment, &self.ages, &mut self.names);
                let after = Before {
                    at_ns: moment.at_ns,
                    slots: slots(live),
                    queued: account.queued,
                };
                let pid = |process| moment.member(process).pid;
                now.rates = self
                    .before
                    .as_ref()
                    .map(|before| rates(before, &after, pid));
                self.before = Some(after);
                now.account = Some(account);
                // Its path leads to another one by now.
                if Live::open(&live.path).is_ok_and(|there| there.id() != live.id()) {
                    (self.live, self.before, self.ages) = (None, None, Ages::default());
                }
            }
        }
        now
    }
}

fn slots(live: &Live) -> BTreeMap<u32, SlotCount> {
    let counts = live.view().counts().into_iter();
    counts.map(|count| (count.index, count)).collect()
}

fn rates(before: &Before, after: &Before, pid: impl Fn(u32) -> u32) -> Rates {
    let seconds = after.at_ns.saturating_sub(before.at_ns) as f64 / 1e9;
    if seconds <= 0.0 {
        return Rates::default();
    }
    let mut rates = Rates {
        seconds,
        queued_per_second: after.queued.saturating_sub(before.queued) as f64 / seconds,
        ..Rates::default()
    };
    for (index, now) in &after.slots {
        // One that has come since then has announced something all the same: how much of it isn't known.
        let Some(was) = before.slots.get(index) else {
            continue;
        };
        if was.process != now.process {
            continue;
        }
        let announced = now.announced.wrapping_sub(was.announced) % COUNTS_TO;
        let rate = f64::from(announced) / seconds;
        rates.announced_per_second += rate;
        *rates.processes.entry(pid(now.process)).or_default() += rate;
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_begin_anew_are_differences_all_the_same() {
        let look = |at_ns, all: &[(u32, u32, u32)], queued| Before {
            at_ns,
            queued,
            slots: all
                .iter()
                .map(|(index, process, announced)| {
                    let count = SlotCount {
                        index: *index,
                        process: *process,
                        thread: 1,
                        announced: *announced,
                    };
                    (*index, count)
                })
                .collect(),
        };
        let before = look(0, &[(0, 0, COUNTS_TO - 5), (1, 0, 100), (2, 7, 0)], 3);
        let after = look(
            2_000_000_000,
            &[(0, 0, 5), (1, 0, 110), (2, 8, 50), (3, 9, 7)],
            7,
        );
        let rates = rates(&before, &after, |process| process + 100);
        assert_eq!(
            (
                rates.seconds,
                rates.announced_per_second,
                rates.queued_per_second
            ),
            (2.0, 10.0, 2.0)
        );
        assert_eq!(rates.processes, BTreeMap::from([(100, 10.0)]));
    }
}
