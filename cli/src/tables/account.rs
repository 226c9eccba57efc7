//! What a table amounts to at one moment: its file, who is in it, and how each file that it speaks of is used.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use lock_table::{
    Fault, FileId, SlotState, Snapshot, TableError, USE_BUFFERED, USE_DIRECT, USE_OBSERVE, VERSION,
};
use serde::Serialize;

use super::files::{Named, Names};
use super::live::{Live, Member, Moment};
use super::mapped::{Found, Mapped, TableId};
use crate::say::plain;
use crate::scan::owner::Users;
use crate::table::args::Room;

const GONE: &str = "it has no name any more that leads to it from here: programs that start now join another one, and the \
    two exclude nothing; start those in it anew";

/// A table, with all that can be said of it.
#[derive(Serialize)]
pub struct Account {
    pub table: String,
    /// `in use | unused | removed` (it has no name any more, and those in it are alone) `| unusable`.
    pub state: &'static str,
    /// Why it is unusable, and what to do.
    pub problem: Option<String>,
    /// None: it can't be known.
    pub version: Option<u32>,
    pub bytes: Option<u64>,
    pub user: Option<String>,
    /// The file's, in octal.
    pub mode: Option<String>,
    pub room: Option<Room>,
    /// Of the room.
    pub used: Option<Room>,
    pub processes: Vec<Member>,
    /// Of one that can't be read: who has it mapped.
    pub mapped_by: Vec<u32>,
    pub files: Vec<FileUse>,
    /// How many claims have queued since the table was made.
    pub queued: u64,
    /// Ranges that a killed process was writing directly, also of files that nobody uses now.
    pub unverified: usize,
    #[serde(skip)]
    pub path: PathBuf,
}

/// A file that living processes use through the table.
#[derive(Serialize)]
pub struct FileUse {
    #[serde(flatten)]
    pub file: Named,
    /// Directly, and through the page cache.
    pub mixed: bool,
    pub modes: Vec<&'static str>,
    pub users: Vec<FileUser>,
    /// Direct requests that overlap them go through the page cache.
    pub writable_mappings: usize,
    /// Claims that hold or announce something.
    pub claims: usize,
    pub waiting: usize,
    /// Ranges that a killed process was writing directly: the next user of the file is told.
    pub unverified: usize,
}

#[derive(Serialize)]
pub struct FileUser {
    pub pid: u32,
    pub program: String,
    pub modes: Vec<&'static str>,
    /// It takes no ranges, and says what would have collided.
    pub observes: bool,
}

impl FileUser {
    pub fn shown(&self) -> String {
        format!("{} (pid {})", self.program, self.pid)
    }
}

impl Account {
    /// Of which nothing is known yet.
    fn at(path: PathBuf, state: &'static str) -> Account {
        let mut account = Account {
            table: plain(path.as_os_str().as_encoded_bytes()),
            state,
            problem: None,
            version: None,
            bytes: None,
            user: None,
            mode: None,
            room: None,
            used: None,
            processes: Vec::new(),
            mapped_by: Vec::new(),
            files: Vec::new(),
            queued: 0,
            unverified: 0,
            path,
        };
        if let Ok(file) = account.path.symlink_metadata() {
            account.bytes = Some(file.len());
            account.user = Some(Users::read().name(file.uid()));
            account.mode = Some(format!("{:o}", file.mode() & 0o7777));
        }
        account
    }

    pub fn living(&self) -> usize {
        self.processes.iter().filter(|one| one.alive).count()
    }

    pub fn dead(&self) -> usize {
        self.processes.len() - self.living()
    }

    pub fn mixed(&self) -> impl Iterator<Item = &FileUse> {
        self.files.iter().filter(|file| file.mixed)
    }
}

/// Of every table that was found; in one order always.
pub fn all(mapped: &Mapped) -> Vec<Account> {
    let users = Users::read();
    let tables = mapped.tables.iter();
    let mut all: Vec<Account> = tables
        .map(|(id, found)| one(*id, found, mapped, &users))
        .collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

fn one(id: TableId, found: &Found, mapped: &Mapped, users: &Users) -> Account {
    let mut account = Account::at(found.path.clone(), "removed");
    account.mapped_by = found.processes.iter().copied().collect();
    if found.removed {
        account.problem = Some(GONE.to_owned());
        return account;
    }
    let seen = Live::open(&found.path).and_then(|live| {
        let moment = live.look(users, mapped)?;
        Ok((live, moment))
    });
    match seen {
        Ok((live, moment)) if live.id() == id => {
            account.fill(&live, &moment, &mut Names::default());
        }
        // Another one has taken its place since it was found.
        Ok(_) => account.problem = Some(GONE.to_owned()),
        Err(error) => account.unusable(&error),
    }
    account
}

impl Account {
    /// Of a moment of a table that is known.
    pub fn of(live: &Live, moment: &Moment, names: &mut Names) -> Account {
        let mut account = Account::at(live.path.clone(), "unused");
        account.fill(live, moment, names);
        account
    }

    fn fill(&mut self, live: &Live, moment: &Moment, names: &mut Names) {
        let geometry = moment.snapshot.geometry;
        self.version = Some(VERSION);
        self.room = Some(Room {
            processes: geometry.processes,
            threads: geometry.slots,
            requests: geometry.requests,
            mappings: geometry.mappings,
            uses: geometry.uses,
        });
        self.processes = moment.members.values().cloned().collect();
        self.processes
            .sort_by_key(|member| (!member.alive, member.pid));
        self.state = match self.living() {
            0 => "unused",
            _ => "in use",
        };
        self.bytes = Some(live.view().bytes());
        self.queued = live.view().queued();
        self.unverified = moment.snapshot.unverified.len();
        self.used = Some(used(live, &moment.snapshot));
        self.files = files(moment, names);
    }

    fn unusable(&mut self, error: &TableError) {
        self.state = "unusable";
        self.problem = Some(error.to_string());
        if let Fault::OtherVersion { is, .. } = error.fault() {
            self.version = Some(is);
        }
    }
}

fn used(live: &Live, snapshot: &Snapshot) -> Room {
    let counts = live.view().counts();
    let requests = counts
        .iter()
        .filter(|one| one.index >= snapshot.geometry.slots);
    let requests = requests.count();
    Room {
        processes: snapshot.processes.len() as u32,
        threads: (counts.len() - requests) as u32,
        requests: requests as u32,
        mappings: snapshot.mappings.len() as u32,
        uses: snapshot.uses.len() as u32,
    }
}

/// By how much is to be said of them.
fn files(moment: &Moment, names: &mut Names) -> Vec<FileUse> {
    let snapshot = &moment.snapshot;
    let lives = |process: u32| moment.members.get(&process).is_some_and(|m| m.alive);
    let mut by_file: BTreeMap<(u64, u64), BTreeMap<u32, u32>> = BTreeMap::new();
    for one in snapshot.uses.iter().filter(|one| lives(one.process)) {
        let users = by_file.entry((one.file.dev, one.file.ino)).or_default();
        *users.entry(one.process).or_default() |= one.bits;
    }
    names.learn(
        by_file.keys().map(|(dev, ino)| FileId {
            dev: *dev,
            ino: *ino,
        }),
        &moment.processes(),
    );
    let counts = Counts::of(snapshot, lives);
    let files = by_file.into_iter();
    let mut files: Vec<FileUse> = files
        .map(|(key, users)| file_use(key, &users, moment, names, &counts))
        .collect();
    files.sort_by(|a, b| {
        let first = |file: &FileUse| (!file.mixed, std::cmp::Reverse(file.waiting));
        first(a).cmp(&first(b)).then_with(|| a.file.cmp(&b.file))
    });
    files
}

/// By file: claims, of which so many wait, writable mappings, and ranges that killed processes were writing.
#[derive(Default)]
struct Counts {
    claims: BTreeMap<(u64, u64), (usize, usize)>,
    mappings: BTreeMap<(u64, u64), BTreeMap<u32, usize>>,
    unverified: BTreeMap<(u64, u64), usize>,
}

impl Counts {
    fn of(snapshot: &Snapshot, lives: impl Fn(u32) -> bool) -> Counts {
        let mut all = Counts::default();
        let key = |file: FileId| (file.dev, file.ino);
        for slot in &snapshot.slots {
            let (claims, waiting) = all.claims.entry(key(slot.claim.file)).or_default();
            match slot.state {
                SlotState::Held => *claims += 1,
                SlotState::Choosing | SlotState::Waiting => *waiting += 1,
            }
        }
        let mappings = snapshot.mappings.iter();
        for map in mappings.filter(|map| map.writable && lives(map.process)) {
            let of_file = all.mappings.entry(key(map.file)).or_default();
            *of_file.entry(map.process).or_default() += 1;
        }
        for range in &snapshot.unverified {
            *all.unverified.entry(key(range.file)).or_default() += 1;
        }
        all
    }
}

fn file_use(
    key: (u64, u64),
    users: &BTreeMap<u32, u32>,
    moment: &Moment,
    names: &Names,
    counts: &Counts,
) -> FileUse {
    let maps = counts.mappings.get(&key);
    let user = |(process, bits): (&u32, &u32)| {
        let member = moment.member(*process);
        let stores = maps.is_some_and(|maps| maps.contains_key(process));
        FileUser {
            pid: member.pid,
            program: member.program,
            modes: modes(*bits, stores),
            observes: bits & USE_OBSERVE != 0,
        }
    };
    let users: Vec<FileUser> = users.iter().map(user).collect();
    let modes: BTreeSet<&str> = users.iter().flat_map(|user| user.modes.clone()).collect();
    let (claims, waiting) = counts.claims.get(&key).copied().unwrap_or_default();
    FileUse {
        file: names.of(FileId {
            dev: key.0,
            ino: key.1,
        }),
        mixed: modes.contains("direct") && modes.len() > 1,
        modes: modes.into_iter().rev().collect(),
        writable_mappings: maps.map_or(0, |maps| maps.values().sum()),
        users,
        claims,
        waiting,
        unverified: counts.unverified.get(&key).copied().unwrap_or(0),
    }
}

fn modes(bits: u32, stores: bool) -> Vec<&'static str> {
    let all = [
        (bits & USE_DIRECT != 0, "direct"),
        (bits & USE_BUFFERED != 0, "buffered"),
        (stores, "mapped writable"),
    ];
    all.into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, word)| word)
        .collect()
}
