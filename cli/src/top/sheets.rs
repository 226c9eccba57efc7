//! What is shown of a look, as rows: files, processes, ranges.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::locks::render::{age, blockers, bytes_of, state};
use crate::locks::{Lock, State};
use crate::tables::account::{Account, FileUse};
use crate::tables::live::Member;
use crate::watched::Now;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tab {
    Files,
    Processes,
    Ranges,
}

impl Tab {
    pub const ALL: [Tab; 3] = [Tab::Files, Tab::Processes, Tab::Ranges];

    pub fn title(self) -> &'static str {
        match self {
            Tab::Files => "FILES",
            Tab::Processes => "PROCESSES",
            Tab::Ranges => "RANGES",
        }
    }
}

/// Sorted as a number where it is one.
pub struct Cell {
    pub text: String,
    number: Option<f64>,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, number: None }
    }
}

/// Nothing where it is zero.
fn number(value: f64, digits: usize) -> Cell {
    Cell {
        text: match value {
            0.0 => String::new(),
            value => format!("{value:.digits$}"),
        },
        number: Some(value),
    }
}

fn count(value: usize) -> Cell {
    number(value as f64, 0)
}

pub type Row = Vec<Cell>;

pub struct Sheet {
    pub head: Vec<&'static str>,
    pub rows: Vec<Row>,
    /// Which column takes what room is left.
    pub wide: usize,
}

impl Sheet {
    pub fn of(tab: Tab, now: &Now) -> Sheet {
        let Some(account) = &now.account else {
            return Sheet {
                head: Vec::new(),
                rows: Vec::new(),
                wide: 0,
            };
        };
        match tab {
            Tab::Files => files(account, now),
            Tab::Processes => processes(account, now),
            Tab::Ranges => ranges(&now.locks),
        }
    }

    /// Keeps the rows that have these letters somewhere, whatever their case.
    pub fn filter(&mut self, letters: &str) {
        let letters = letters.to_lowercase();
        let has = |cell: &Cell| cell.text.to_lowercase().contains(&letters);
        self.rows.retain(|row| row.iter().any(has));
    }

    /// By a column: texts from a to z, numbers from the largest; or the other way round.
    pub fn sort(&mut self, column: usize, reverse: bool) {
        let compare = |a: &Row, b: &Row| -> Ordering {
            let (Some(a), Some(b)) = (a.get(column), b.get(column)) else {
                return Ordering::Equal;
            };
            let order = match (a.number, b.number) {
                (Some(a), Some(b)) => b.total_cmp(&a),
                _ => a.text.cmp(&b.text),
            };
            if reverse { order.reverse() } else { order }
        };
        self.rows.sort_by(compare);
    }
}

/// The longest that somebody has been seen waiting, by what is asked for.
fn waits<K: Ord>(locks: &[Lock], key: impl Fn(&Lock) -> K) -> BTreeMap<K, f64> {
    let mut all: BTreeMap<K, f64> = BTreeMap::new();
    for lock in locks.iter().filter(|lock| lock.state == State::Waits) {
        let longest = all.entry(key(lock)).or_default();
        *longest = longest.max(lock.at_least_seconds);
    }
    all
}

fn files(account: &Account, now: &Now) -> Sheet {
    let mut head = vec![
        "FILE",
        "MODES",
        "BY",
        "CALLS NOW",
        "WAITING",
        "LONGEST",
        "MAPPINGS",
    ];
    let longest = waits(&now.locks, |lock| lock.file.id);
    if now.events.is_some() {
        head.extend(["FELL BACK", "COLLIDED", "WAITED"]);
    }
    head.push("NOTE");
    let row = |file: &FileUse| {
        let users = file.users.iter().map(|user| user.program.as_str());
        let mut users: Vec<&str> = users.collect();
        users.sort_unstable();
        users.dedup();
        let mut row = vec![
            Cell::from(file.file.shown()),
            Cell::from(file.modes.join(", ")),
            Cell::from(users.join(", ")),
            count(file.claims),
            count(file.waiting),
            number(longest.get(&file.file.id).copied().unwrap_or(0.0), 1),
            count(file.writable_mappings),
        ];
        if let Some(events) = &now.events {
            let id = (file.file.id.device, file.file.id.inode);
            let told = ["fallback", "collision", "wait"];
            row.extend(told.map(|word| number(events.of_file(id, word) as f64, 0)));
        }
        row.push(Cell::from(note(file).to_owned()));
        row
    };
    Sheet {
        rows: account.files.iter().map(row).collect(),
        head,
        wide: 0,
    }
}

fn note(file: &FileUse) -> &'static str {
    let direct = file.modes.contains(&"direct");
    match (
        file.mixed,
        direct && file.writable_mappings > 0,
        file.unverified,
    ) {
        (_, _, 1..) => "a killed write is unchecked",
        (_, true, _) => "MIXED, direct I/O falls back",
        (true, ..) => "MIXED",
        _ => "",
    }
}

fn processes(account: &Account, now: &Now) -> Sheet {
    let longest = waits(&now.locks, |lock| lock.who.pid);
    let row = |member: &Member| {
        let own = || now.locks.iter().filter(|lock| lock.who.pid == member.pid);
        let of = |state: State| count(own().filter(|lock| lock.state == state).count());
        let rate = now
            .rates
            .as_ref()
            .and_then(|rates| rates.processes.get(&member.pid));
        let blocked = own().find(|lock| !lock.blocked_by.is_empty());
        let uses = |file: &&FileUse| file.users.iter().any(|user| user.pid == member.pid);
        let state = match (member.alive, member.stopped) {
            (false, _) => "dead",
            (true, true) => "stopped",
            (true, false) => "",
        };
        vec![
            Cell {
                text: member.pid.to_string(),
                number: Some(f64::from(member.pid)),
            },
            Cell::from(member.program.clone()),
            Cell::from(member.user.clone().unwrap_or_default()),
            number(rate.copied().unwrap_or(0.0), 0),
            of(State::Holds),
            of(State::Waits),
            number(longest.get(&member.pid).copied().unwrap_or(0.0), 1),
            Cell::from(blocked.map_or(String::new(), blockers)),
            count(account.files.iter().filter(uses).count()),
            Cell::from(state.to_owned()),
        ]
    };
    Sheet {
        head: vec![
            "PID",
            "PROGRAM",
            "USER",
            "CALLS/S",
            "HOLDS",
            "WAITS",
            "LONGEST",
            "BLOCKED BY",
            "FILES",
            "STATE",
        ],
        rows: account.processes.iter().map(row).collect(),
        wide: 7,
    }
}

fn ranges(locks: &[Lock]) -> Sheet {
    let row = |lock: &Lock| {
        vec![
            Cell {
                text: lock.who.pid.to_string(),
                number: Some(f64::from(lock.who.pid)),
            },
            Cell::from(lock.who.program.clone()),
            Cell::from(lock.access.to_owned()),
            Cell {
                text: bytes_of(lock),
                number: Some(lock.first as f64),
            },
            Cell::from(state(lock)),
            Cell {
                text: age(lock.at_least_seconds),
                number: Some(lock.at_least_seconds),
            },
            Cell::from(blockers(lock)),
            Cell::from(lock.file.shown()),
        ]
    };
    Sheet {
        head: vec![
            "PID",
            "PROGRAM",
            "ACCESS",
            "BYTES",
            "STATE",
            "AT LEAST",
            "BLOCKED BY",
            "FILE",
        ],
        rows: locks.iter().map(row).collect(),
        wide: 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(rows: &[(&str, f64)]) -> Sheet {
        let row =
            |(text, value): &(&str, f64)| vec![Cell::from((*text).to_owned()), number(*value, 0)];
        Sheet {
            head: vec!["A", "B"],
            rows: rows.iter().map(row).collect(),
            wide: 0,
        }
    }

    fn texts(sheet: &Sheet) -> Vec<&str> {
        sheet.rows.iter().map(|row| row[0].text.as_str()).collect()
    }

    #[test]
    fn sorted_by_letters_and_by_numbers_and_filtered() {
        let mut rows = sheet(&[("beta", 9.0), ("alpha", 10.0), ("Gamma", 0.0)]);
        rows.sort(0, false);
        assert_eq!(texts(&rows), ["Gamma", "alpha", "beta"]);
        rows.sort(1, false);
        assert_eq!(texts(&rows), ["alpha", "beta", "Gamma"]);
        rows.sort(1, true);
        assert_eq!(texts(&rows), ["Gamma", "beta", "alpha"]);
        rows.sort(7, true);
        rows.filter("AMM");
        assert_eq!(texts(&rows), ["Gamma"]);
        assert_eq!(rows.rows[0][1].text, "");
    }
}
