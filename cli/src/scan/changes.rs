//! What has changed since the last look, told as it happens: a line each, or a line of JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::modes::{File, Mode, User};
use super::seen::Id;
use super::{Uses, verdict};
use crate::failure::Failure;
use crate::say;

/// One line.
#[derive(Serialize)]
pub struct Change<'a> {
    /// Since 1970, in seconds.
    time: f64,
    event: &'static str,
    path: &'a str,
    pid: u32,
    program: Option<&'a str>,
    user: Option<&'a str>,
    /// None: it had gone before that could be seen.
    modes: Option<&'a [Mode]>,
    fenced: Option<bool>,
    /// The file is.
    mixed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
}

impl<'a> Change<'a> {
    /// Of a process of which no more is known.
    pub fn bare(event: &'static str, path: &'a str, pid: u32) -> Change<'a> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Change {
            time: now.map_or(0.0, |now| now.as_secs_f64()),
            event,
            path,
            pid,
            program: None,
            user: None,
            modes: None,
            fenced: None,
            mixed: None,
            verdict: None,
        }
    }

    fn of(event: &'static str, file: &'a File, user: &'a User) -> Change<'a> {
        Change {
            program: Some(&user.who.program),
            user: Some(&user.who.user),
            modes: Some(&user.modes),
            fenced: Some(user.fence.fenced),
            mixed: Some(file.mixed),
            ..Change::bare(event, &user.path, user.who.pid)
        }
    }
}

pub struct Changes {
    files: BTreeMap<Id, File>,
    json: bool,
    begun: Instant,
    /// A file was in mixed use at some time.
    pub was_mixed: bool,
}

impl Changes {
    pub fn new(json: bool) -> Changes {
        Changes {
            files: BTreeMap::new(),
            json,
            begun: Instant::now(),
            was_mixed: false,
        }
    }

    pub fn knows(&self, pid: u32, id: Id) -> bool {
        let file = self.files.get(&id);
        file.is_some_and(|file| file.users.iter().any(|user| user.who.pid == pid))
    }

    /// All that is there now.
    pub fn all(&mut self, files: Vec<File>) -> Result<(), Failure> {
        let known = self.files.values().flat_map(|file| &file.users);
        let gone: BTreeSet<u32> = known.map(|user| user.who.pid).collect();
        let mut by_process: BTreeMap<u32, Uses> =
            gone.iter().map(|pid| (*pid, Vec::new())).collect();
        for file in files {
            for user in file.users {
                let uses = by_process.entry(user.who.pid).or_default();
                uses.push((file.id, file.filesystem, user));
            }
        }
        by_process
            .into_iter()
            .try_for_each(|(pid, uses)| self.of_process(pid, uses))
    }

    /// All that one process uses now.
    pub fn of_process(&mut self, pid: u32, mut uses: Uses) -> Result<(), Failure> {
        for id in self.files.keys().copied().collect::<Vec<_>>() {
            let at = uses.iter().position(|(of, ..)| *of == id);
            let now = at.map(|at| uses.swap_remove(at).2);
            self.change(id, pid, now)?;
        }
        for (id, filesystem, user) in uses {
            let mut file = File::new(id, filesystem, Vec::new());
            file.path.clone_from(&user.path);
            self.files.insert(id, file);
            self.change(id, pid, Some(user))?;
        }
        self.files.retain(|_, file| !file.users.is_empty());
        Ok(())
    }

    /// Of one file and one process.
    fn change(&mut self, id: Id, pid: u32, now: Option<User>) -> Result<(), Failure> {
        let Some(mut file) = self.files.remove(&id) else {
            return Ok(());
        };
        let was_mixed = file.mixed;
        let at = file.users.iter().position(|user| user.who.pid == pid);
        let before = at.map(|at| file.users.remove(at));
        let event = match (&before, &now) {
            (None, None) => None,
            (None, Some(_)) => Some("opened"),
            (Some(_), None) => Some("closed"),
            (Some(before), Some(now)) => (before.modes != now.modes).then_some("changed"),
        };
        let is_there = now.is_some();
        file.users.extend(now);
        file.judge();
        let told = if is_there {
            file.users.last()
        } else {
            before.as_ref()
        };
        if let (Some(event), Some(user)) = (event, told) {
            self.tell(&Change::of(event, &file, user))?;
            if file.mixed != was_mixed {
                let event = if file.mixed { "mixed" } else { "unmixed" };
                let verdict = file.mixed.then(|| verdict::mixed(&file));
                self.tell(&Change {
                    verdict,
                    ..Change::of(event, &file, user)
                })?;
            }
        }
        self.was_mixed |= file.mixed;
        self.files.insert(id, file);
        Ok(())
    }

    pub fn tell(&self, change: &Change) -> Result<(), Failure> {
        if self.json {
            return say::answer(serde_json::to_string(change).unwrap_or_default());
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        if let Some(verdict) = &change.verdict {
            return say::answer(format_args!("{seconds:9.3} MIXED    {verdict}"));
        }
        let modes = change
            .modes
            .map_or("gone before its mode was seen".to_owned(), |modes| {
                modes
                    .iter()
                    .map(|mode| mode.word())
                    .collect::<Vec<_>>()
                    .join(", ")
            });
        let modes = match change.event {
            "read" | "written" | "unmixed" => String::new(),
            _ => format!(", {modes}"),
        };
        let program = change.program.unwrap_or("process");
        let fence = match change.fenced {
            Some(true) => ", fenced",
            Some(false) => ", not fenced",
            None => "",
        };
        say::answer(format_args!(
            "{seconds:9.3} {:<8} {}: {program} (pid {}){modes}{fence}",
            change.event, change.path, change.pid
        ))
    }
}
