//! A table that is in use: what stands in it, and who that is among this machine's processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lock_table::{Fault, Snapshot, TableError, View};
use serde::Serialize;

use super::mapped::{Mapped, TableId};
use super::place;
use crate::exec::c_string;
use crate::failure::{Failure, OWN_FAILURE, USAGE};
use crate::say::{Shown, plain};
use crate::scan::owner::Users;

pub struct Live {
    pub path: PathBuf,
    view: View,
}

/// What stood in it at one moment.
pub struct Moment {
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
    pub snapshot: Snapshot,
    pub members: BTreeMap<u32, Member>,
}

/// A process that is, or was, attached.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// As this process counts; of one in another PID namespace that can't be found, what it calls itself.
    pub pid: u32,
    pub program: String,
    /// None: it is dead, or can't be looked at.
    pub user: Option<String>,
    pub alive: bool,
    /// By a signal (SIGSTOP, a debugger): it goes on with nothing, and keeps what it has.
    pub stopped: bool,
    pub attached_seconds: f64,
    /// It was found among this machine's processes.
    #[serde(skip)]
    pub is_found: bool,
}

impl Member {
    pub fn shown(&self) -> String {
        format!("{} (pid {})", self.program, self.pid)
    }
}

/// The one that is asked for, or that this user's programs would join. `Ok(None)`: nobody has made that one yet.
pub fn open(named: Option<&Path>) -> Result<(PathBuf, Option<Live>), Failure> {
    let path = match named {
        Some(path) => std::path::absolute(path)
            .map_err(|error| Failure::new(USAGE, format!("{}: {error}", path.shown()), ""))?,
        None => default()?,
    };
    match Live::open(&path) {
        Ok(live) => Ok((path, Some(live))),
        Err(error) if error.fault() == Fault::Missing && named.is_none() => Ok((path, None)),
        Err(error) => Err(refused(&error)),
    }
}

/// As `run` would have it.
fn default() -> Result<PathBuf, Failure> {
    let user = rustix::process::geteuid().as_raw();
    let policy = crate::doctor::own_policy()?;
    Ok(place::table_of(user, place::variable(), &policy).path)
}

/// Exit code 2 where there is no table, and 125 where there is one that can't be looked at.
pub fn refused(error: &TableError) -> Failure {
    match error.fault() {
        Fault::Missing
        | Fault::NoDirectory
        | Fault::NotATable
        | Fault::NotRegular
        | Fault::PathTooLong
        | Fault::SymbolicLink => Failure::new(USAGE, error.to_string(), ""),
        Fault::Permission => Failure::new(
            OWN_FAILURE,
            error.to_string(),
            "or ask as its user, or as root",
        ),
        _ => Failure::new(OWN_FAILURE, error.to_string(), ""),
    }
}

impl Live {
    pub fn open(path: &Path) -> Result<Live, Box<TableError>> {
        // A path with a zero byte in it is nobody's.
        let name = c_string(path.as_os_str()).unwrap_or_default();
        Ok(Live {
            path: path.to_owned(),
            view: View::open(&name)?,
        })
    }

    pub fn id(&self) -> TableId {
        self.view.id()
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    /// What stands in it, read while others go on. An error: it is none any more.
    pub fn look(&self, users: &Users, mapped: &Mapped) -> Result<Moment, Box<TableError>> {
        let at_ns = kernel::now_ns();
        let snapshot = self.view.snapshot();
        self.view.check()?;
        let outside = Outside::of(&mapped.processes_of(self.id()));
        let members = snapshot.processes.iter();
        let members = members.map(|process| {
            let number = process.owner.pid;
            let comm = process.owner.comm.split(|byte| *byte == 0).next();
            let comm = plain(comm.unwrap_or_default());
            let pid = match process.alive {
                true => outside.find(number, &comm),
                false => None,
            };
            let since = at_ns.saturating_sub(process.since_ns);
            let member = Member {
                pid: pid.unwrap_or(number),
                program: pid.and_then(program).unwrap_or(comm),
                user: pid.and_then(|pid| owner(pid, users)),
                alive: process.alive,
                stopped: pid.is_some_and(is_stopped),
                attached_seconds: since as f64 / 1e9,
                is_found: pid.is_some(),
            };
            (process.index, member)
        });
        Ok(Moment {
            at_ns,
            members: members.collect(),
            snapshot,
        })
    }
}

impl Moment {
    pub fn member(&self, process: u32) -> Member {
        self.members.get(&process).cloned().unwrap_or(Member {
            pid: 0,
            program: "?".to_owned(),
            user: None,
            alive: false,
            stopped: false,
            attached_seconds: 0.0,
            is_found: false,
        })
    }

    /// Those whose files can be looked at.
    pub fn processes(&self) -> BTreeSet<u32> {
        let found = self.members.values().filter(|member| member.is_found);
        found.map(|member| member.pid).collect()
    }
}

/// By the numbers that they have in their own namespaces: those that have the table mapped, and, for who can't see that,
/// those that call themselves so.
struct Outside(BTreeMap<u32, Vec<u32>>);

impl Outside {
    fn of(processes: &BTreeSet<u32>) -> Outside {
        let mut all: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for pid in processes {
            all.entry(own_number(*pid)).or_default().push(*pid);
        }
        Outside(all)
    }

    fn find(&self, number: u32, comm: &str) -> Option<u32> {
        let named = |pid: &u32| self::comm(*pid).as_deref() == Some(comm);
        match self.0.get(&number).map(Vec::as_slice) {
            Some([one]) => Some(*one),
            Some(several) => several.iter().copied().find(named),
            None => Some(number).filter(|pid| named(pid) && own_number(*pid) == number),
        }
    }
}

fn status(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn line<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = status.lines();
    lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
}

fn own_number(pid: u32) -> u32 {
    let status = status(pid);
    let number = line(&status, "NSpid").and_then(|line| line.split_whitespace().next_back());
    number.and_then(|n| n.parse().ok()).unwrap_or(pid)
}

fn is_stopped(pid: u32) -> bool {
    line(&status(pid), "State")
        .is_some_and(|state| matches!(state.trim().as_bytes(), [b'T' | b't', ..]))
}

fn comm(pid: u32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(plain(bytes.strip_suffix(b"\n").unwrap_or(&bytes)))
}

/// What a thread calls itself, if that is another name than its process's.
pub fn thread_name(pid: u32, thread: u32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/task/{thread}/comm")).ok()?;
    let name = plain(bytes.strip_suffix(b"\n").unwrap_or(&bytes));
    (comm(pid).as_ref() != Some(&name)).then_some(name)
}

fn program(pid: u32) -> Option<String> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let path = path.as_os_str().as_bytes();
    let path = path.strip_suffix(kernel::DELETED).unwrap_or(path);
    Some(plain(path.rsplit(|byte| *byte == b'/').next()?))
}

fn owner(pid: u32, users: &Users) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(format!("/proc/{pid}")).ok()?;
    Some(users.name(found.uid()))
}
