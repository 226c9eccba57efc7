//! The numbers: every table that is found, each time anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prometheus::{Encoder, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

use crate::failure::Failure;
use crate::locks::{self, Ages, Lock, State};
use crate::scan::owner::Users;
use crate::table::args::Room;
use crate::tables::account::Account;
use crate::tables::files::Names;
use crate::tables::live::Live;
use crate::tables::mapped::{Mapped, TableId};
use crate::tables::place;
use crate::watched::Events;

/// How many files of a table are told by name.
const FILES: usize = 100;

pub struct Gatherer {
    users: Users,
    names: Names,
    ages: BTreeMap<TableId, Ages>,
    events: Option<Events>,
}

impl Gatherer {
    pub fn new(trace: Option<&Path>) -> Result<Gatherer, Failure> {
        Ok(Gatherer {
            users: Users::read(),
            names: Names::default(),
            ages: BTreeMap::new(),
            events: trace.map(Events::open).transpose()?,
        })
    }

    /// All there is now.
    pub fn text(&mut self) -> String {
        let numbers = Numbers::default();
        let also: Vec<_> = place::variable().into_iter().collect();
        let mapped = Mapped::look(&also);
        self.ages.retain(|id, _| mapped.tables.contains_key(id));
        numbers.gauge(UNSEEN, &[], f64::from(u8::from(mapped.incomplete)));
        for (id, found) in &mapped.tables {
            let path = crate::say::plain(found.path.as_os_str().as_encoded_bytes());
            let up = !found.removed && self.table(&numbers, *id, &found.path, &mapped).is_some();
            numbers.gauge(UP, &[&path], f64::from(u8::from(up)));
        }
        if let Some(events) = &mut self.events {
            let counts = events.read();
            for kind in trace::Kind::ALL {
                let count = counts.all.get(kind.word()).copied().unwrap_or(0);
                numbers.count(EVENTS, &[kind.word()], count);
            }
            numbers.count(MISSING, &[], counts.missing);
        }
        numbers.text()
    }

    /// None: it can't be read.
    fn table(
        &mut self,
        numbers: &Numbers,
        id: TableId,
        path: &Path,
        mapped: &Mapped,
    ) -> Option<()> {
        let live = Live::open(path).ok()?;
        let moment = live.look(&self.users, mapped).ok()?;
        let ages = self.ages.entry(id).or_default();
        ages.look(&moment);
        let account = Account::of(&live, &moment, &mut self.names);
        let locks = locks::all(&moment, ages, &mut self.names);
        let announced = live.view().announcements();
        numbers.count(ANNOUNCED, &[&account.table], announced);
        numbers.account(&account);
        numbers.locks(&account.table, &locks);
        Some(())
    }
}

/// A number's name, what it is, and by what it is told apart.
type Name = (&'static str, &'static str, &'static [&'static str]);

const UP: Name = (
    "pagefence_up",
    "1 if the lock table can be read.",
    &["table"],
);
const UNSEEN: Name = (
    "pagefence_unseen",
    "1 if some processes of this machine could not be looked at.",
    &[],
);
const PROCESSES: Name = (
    "pagefence_processes",
    "Processes that are attached, and dead ones that nobody has cleaned up after.",
    &["table", "state"],
);
const ROOM: Name = (
    "pagefence_room",
    "How many there is room for in the table.",
    &["table", "what"],
);
const USED: Name = (
    "pagefence_used",
    "How much of the table's room is taken.",
    &["table", "what"],
);
const IN_USE: Name = (
    "pagefence_files",
    "Files that living processes use, in both modes or in one.",
    &["table", "use"],
);
const MIXED: Name = (
    "pagefence_file_mixed",
    "1 for each file in mixed use.",
    &["table", "path"],
);
const CLAIMS: Name = (
    "pagefence_claims",
    "Ranges that are held, announced and waited for.",
    &["table", "state"],
);
const WAIT: Name = (
    "pagefence_wait_seconds",
    "The longest that somebody who waits now has been seen waiting.",
    &["table"],
);
const STOPPED: Name = (
    "pagefence_stopped_holders",
    "Processes that others wait for and that are stopped by a signal.",
    &["table"],
);
const MAPPINGS: Name = (
    "pagefence_writable_mappings",
    "Writable mappings of files: direct requests over them go through the page cache.",
    &["table"],
);
const UNVERIFIED: Name = (
    "pagefence_unverified_ranges",
    "Ranges that a killed process was writing directly and that nobody has been told of yet.",
    &["table"],
);
const ANNOUNCED: Name = (
    "pagefence_announced_total",
    "Claims that were announced since the table was made.",
    &["table"],
);
const QUEUED: Name = (
    "pagefence_queued_total",
    "Claims that had to queue since the table was made.",
    &["table"],
);
const EVENTS: Name = (
    "pagefence_events_total",
    "What the trace has told since it began.",
    &["event"],
);
const MISSING: Name = (
    "pagefence_events_missing_total",
    "Events that the trace lost: overwritten, not finished, or without room.",
    &[],
);

/// As they come together.
#[derive(Default)]
struct Numbers {
    registry: Registry,
    known: std::cell::RefCell<BTreeMap<&'static str, Kept>>,
}

enum Kept {
    Gauge(GaugeVec),
    Counter(IntCounterVec),
}

impl Numbers {
    fn gauge(&self, (name, help, labels): Name, values: &[&str], number: f64) {
        let mut known = self.known.borrow_mut();
        let made = || GaugeVec::new(Opts::new(name, help), labels).ok();
        let Some(Kept::Gauge(gauge)) = self.kept(&mut known, name, || made().map(Kept::Gauge))
        else {
            return;
        };
        if let Ok(gauge) = gauge.get_metric_with_label_values(values) {
            gauge.set(number);
        }
    }

    fn count(&self, (name, help, labels): Name, values: &[&str], number: u64) {
        let mut known = self.known.borrow_mut();
        let made = || IntCounterVec::new(Opts::new(name, help), labels).ok();
        let Some(Kept::Counter(counter)) =
            self.kept(&mut known, name, || made().map(Kept::Counter))
        else {
            return;
        };
        if let Ok(counter) = counter.get_metric_with_label_values(values) {
            counter.inc_by(number);
        }
    }

    fn kept<'a>(
        &self,
        known: &'a mut BTreeMap<&'static str, Kept>,
        name: &'static str,
        make: impl FnOnce() -> Option<Kept>,
    ) -> Option<&'a Kept> {
        if !known.contains_key(name) {
            let made = make()?;
            let registered = match &made {
                Kept::Gauge(gauge) => self.registry.register(Box::new(gauge.clone())),
                Kept::Counter(counter) => self.registry.register(Box::new(counter.clone())),
            };
            registered.ok()?;
            known.insert(name, made);
        }
        known.get(name)
    }

    fn account(&self, account: &Account) {
        let table = account.table.as_str();
        for (state, count) in [("living", account.living()), ("dead", account.dead())] {
            self.gauge(PROCESSES, &[table, state], count as f64);
        }
        self.room(ROOM, table, account.room.as_ref());
        self.room(USED, table, account.used.as_ref());
        let mixed = account.mixed().count();
        let rest = account.files.len() - mixed;
        for (how, count) in [("mixed", mixed), ("one_mode", rest)] {
            self.gauge(IN_USE, &[table, how], count as f64);
        }
        for file in account.mixed().take(FILES) {
            self.gauge(MIXED, &[table, &file.file.shown()], 1.0);
        }
        let mappings: usize = account
            .files
            .iter()
            .map(|file| file.writable_mappings)
            .sum();
        self.gauge(MAPPINGS, &[table], mappings as f64);
        self.gauge(UNVERIFIED, &[table], account.unverified as f64);
        self.count(QUEUED, &[table], account.queued);
    }

    fn room(&self, name: Name, table: &str, room: Option<&Room>) {
        let Some(room) = room else { return };
        for (what, count) in [
            ("processes", room.processes),
            ("threads", room.threads),
            ("requests", room.requests),
            ("mappings", room.mappings),
            ("uses", room.uses),
        ] {
            self.gauge(name, &[table, what], f64::from(count));
        }
    }

    fn locks(&self, table: &str, locks: &[Lock]) {
        for (word, state) in [
            ("holds", State::Holds),
            ("announced", State::Announced),
            ("waits", State::Waits),
        ] {
            let count = locks.iter().filter(|lock| lock.state == state).count();
            self.gauge(CLAIMS, &[table, word], count as f64);
        }
        let waits = locks.iter().filter(|lock| lock.state == State::Waits);
        let longest = waits.map(|lock| lock.at_least_seconds).fold(0.0, f64::max);
        self.gauge(WAIT, &[table], longest);
        let blockers = locks.iter().flat_map(|lock| &lock.blocked_by);
        let stopped = blockers.filter(|one| one.stopped).map(|one| one.pid);
        let stopped: BTreeSet<u32> = stopped.collect();
        self.gauge(STOPPED, &[table], stopped.len() as f64);
    }

    fn text(&self) -> String {
        let mut bytes = Vec::new();
        // Into memory, and all names are ours.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
