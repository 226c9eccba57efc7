//! `pagefence scan`: which processes have a file, or what lies under a directory or on a block device, open or mapped, in
//! which modes, and whether they are fenced. It only looks, from outside: at /proc, and with `--watch` at what the kernel
//! tells of opens.

pub mod args;
pub mod attach;
mod changes;
mod fence;
pub mod maps;
mod modes;
mod mounts;
pub mod owner;
pub mod processes;
pub mod render;
pub mod seen;
pub mod target;
mod verdict;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde::Serialize;

use crate::failure::Failure;
use crate::process::Process;
use crate::say::{self, Shown, plain};
use args::ScanArgs;
use fence::Asked;
use modes::{File, User, Who, parts};
use owner::Users;
use processes::Gone;
use seen::Id;
use target::Targets;

/// A file is in mixed use.
const MIXED: i32 = 1;
/// None was seen that is, and not everything could be seen.
const INCOMPLETE: i32 = 3;

/// What a look can't show, whoever looks.
const LIMITS: [&str; 4] = [
    "files registered with an io_uring, and descriptors on their way through a socket, are in no list of descriptors",
    "a thread with descriptor numbers of its own (unshare CLONE_FILES) is not looked at",
    "the same bytes in another cache count as another file: a disk and its partition, a loop device and its image, an overlay and its layers",
    "what is open may be unused, and what has been closed may have been used: --watch sees openers come and go",
];

/// A process that could not be looked at.
#[derive(Serialize)]
pub struct Unseen {
    pub pid: u32,
    pub program: String,
    pub user: String,
}

/// All that was seen.
#[derive(Serialize)]
pub struct Report {
    pub verdict: String,
    pub mixed: bool,
    /// All processes could be looked at.
    pub complete: bool,
    pub files: Vec<File>,
    pub unseen: Vec<Unseen>,
    pub limits: Vec<String>,
    /// What to do.
    pub hint: String,
}

pub fn scan(arguments: &ScanArgs) -> Result<i32, Failure> {
    let scanner = Scanner::new(Targets::new(&arguments.paths)?);
    if arguments.watch {
        return watch::watch(arguments, scanner);
    }
    let report = scanner.report();
    if arguments.json {
        say::answer(serde_json::to_string(&report).unwrap_or_default())?;
    } else {
        say::answer(render::page(&report))?;
    }
    Ok(report.exit_code())
}

impl Report {
    pub fn exit_code(&self) -> i32 {
        match (self.mixed, self.complete) {
            (true, _) => MIXED,
            (false, false) => INCOMPLETE,
            (false, true) => 0,
        }
    }
}

pub struct Glimpse {
    pub filesystem: &'static str,
    pub user: User,
}

#[derive(Clone)]
pub struct Scanner {
    pub targets: Targets,
    users: Users,
}

/// A process's uses of files, and the filesystem of each.
type Uses = Vec<(Id, &'static str, User)>;

impl Scanner {
    pub fn new(targets: Targets) -> Scanner {
        let users = Users::read();
        Scanner { targets, users }
    }

    pub fn report(&self) -> Report {
        let mut by_file: BTreeMap<Id, (&'static str, Vec<User>)> = BTreeMap::new();
        let mut unseen = Vec::new();
        for (pid, uses) in self.all_uses() {
            match uses {
                Ok(uses) => {
                    for (id, filesystem, user) in uses {
                        let (_, users) = by_file.entry(id).or_insert((filesystem, Vec::new()));
                        users.push(user);
                    }
                }
                Err(Gone::Denied) => unseen.extend(self.unseen(pid)),
                Err(Gone::Ended) => {}
            }
        }
        let files = by_file.into_iter();
        let mut files: Vec<File> = files
            .map(|(id, (filesystem, users))| File::new(id, filesystem, users))
            .collect();
        files.sort_by(|a, b| b.mixed.cmp(&a.mixed).then_with(|| a.path.cmp(&b.path)));
        Report::new(files, unseen)
    }

    /// What each process uses, by their numbers. The kernel does the work, for each processor that asks: with some ten
    /// thousand descriptors that shows.
    fn all_uses(&self) -> Vec<(u32, Result<Uses, Gone>)> {
        const MOST: usize = 8;
        // Who asks has nothing of it.
        let own = std::process::id();
        let all: Vec<u32> = processes::all()
            .into_iter()
            .filter(|pid| *pid != own)
            .collect();
        let next = AtomicUsize::new(0);
        let look = || {
            let mut scanner = self.clone();
            let turns = std::iter::from_fn(|| all.get(next.fetch_add(1, Relaxed)));
            turns.map(|pid| (*pid, scanner.uses_of(*pid))).collect()
        };
        let threads = std::thread::available_parallelism().map_or(1, |most| most.get().min(MOST));
        let mut uses: Vec<(u32, Result<Uses, Gone>)> = std::thread::scope(|scope| {
            let looking: Vec<_> = (1..threads).map(|_| scope.spawn(look)).collect();
            let own: Vec<_> = look();
            let others = looking
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_default());
            others.chain(own).collect()
        });
        uses.sort_by_key(|(pid, _)| *pid);
        uses
    }

    /// What one process uses.
    pub fn uses_of(&mut self, pid: u32) -> Result<Uses, Gone> {
        let holds = processes::holds_of(pid, &mut self.targets)?;
        if holds.is_empty() {
            return Ok(Vec::new());
        }
        // It has ended meanwhile: /proc has just let us look at it.
        let process = Process::read(pid).map_err(|_| Gone::Ended)?;
        let who = self.who(&process);
        let asked = Asked::new(process);
        let parts = parts(holds).into_iter();
        Ok(parts
            .map(|(id, part)| {
                let (fence, filesystem) = asked.fenced(&part, id.is_device);
                (id, filesystem, User::new(who.clone(), part, fence))
            })
            .collect())
    }

    /// As much of a process that may be gone in a moment as its descriptors say, of one file.
    pub fn glimpse(&mut self, pid: u32, id: Id) -> Option<Glimpse> {
        use std::os::unix::fs::MetadataExt;
        let mut holds = processes::glimpse_of(pid, id);
        let at = |name: &str| format!("/proc/{pid}/{name}");
        let first = holds.first()?;
        let filesystem = crate::explain::filesystem_of(first.link.as_ref()).unwrap_or("other");
        let program = std::fs::read_link(at("exe")).ok();
        let command = std::fs::read(at("comm")).unwrap_or_default();
        let command = plain(command.trim_ascii_end());
        let uid = std::fs::metadata(at("")).map_or(0, |found| found.uid());
        let name = program.as_ref().and_then(|path| path.file_name());
        let who = Who {
            pid,
            program: match name {
                Some(name) => name.shown().to_string(),
                None => command.clone(),
            },
            command,
            user: self.users.name(uid),
            uid,
            unit: None,
            container: None,
        };
        let (_, part) = parts(std::mem::take(&mut holds)).pop_first()?;
        Some(Glimpse {
            filesystem,
            user: User::new(who, part, fence::Fenced::unknown()),
        })
    }

    fn who(&self, process: &Process) -> Who {
        // Of the four, the one that it acts for.
        let uid = process.says("Uid").split_whitespace().nth(1);
        let uid = uid.and_then(|uid| uid.parse().ok()).unwrap_or(process.user);
        let who = Who {
            pid: process.number,
            program: plain(process.program()),
            command: plain(process.says("Name").as_bytes()),
            user: self.users.name(uid),
            uid,
            unit: None,
            container: None,
        };
        who.with(owner::group(process.number))
    }

    /// None: a thread of the kernel's, which has no descriptors.
    fn unseen(&self, pid: u32) -> Option<Unseen> {
        use std::os::unix::fs::MetadataExt;
        const PF_KTHREAD: u64 = 0x0020_0000;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses, and may have some in it.
        let (name, rest) = stat.rsplit_once(')')?;
        let flags: u64 = rest.split_whitespace().nth(6)?.parse().ok()?;
        let user = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
        (flags & PF_KTHREAD == 0).then(|| Unseen {
            pid,
            program: plain(
                name.split_once('(')
                    .map_or(name, |(_, name)| name)
                    .as_bytes(),
            ),
            user: self.users.name(user),
        })
    }
}

impl Report {
    fn new(files: Vec<File>, unseen: Vec<Unseen>) -> Report {
        let mut limits: Vec<String> = LIMITS.map(str::to_owned).to_vec();
        // With `hidepid` other users' processes have no number either.
        let hidden = !Path::new("/proc/1").exists();
        if hidden {
            limits.push("/proc hides the processes of other users (hidepid)".to_owned());
        }
        const FIRST_NAMESPACE: &str = "pid:[4026531836]";
        let own = std::fs::read_link("/proc/self/ns/pid");
        if own.is_ok_and(|own| own.as_os_str() != FIRST_NAMESPACE) {
            limits.push(
                "processes outside of this PID namespace (a container's) are not seen".to_owned(),
            );
        }
        let complete = unseen.is_empty() && !hidden;
        Report {
            verdict: verdict::of(&files, complete),
            hint: verdict::hint(&files, complete),
            mixed: files.iter().any(|file| file.mixed),
            complete,
            files,
            unseen,
            limits,
        }
    }
}
