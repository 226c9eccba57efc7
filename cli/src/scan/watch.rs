//! `pagefence scan --watch`: goes on looking, and tells each change. Where it may, the kernel tells of each open and close
//! (fanotify), so that openers are seen that come and go in milliseconds; else it looks again and again.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::fanotify::{EventFFlags, Fanotify, FanotifyEvent, InitFlags, MarkFlags, MaskFlags};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::CWD;

use super::args::ScanArgs;
use super::changes::{Change, Changes};
use super::processes::Gone;
use super::seen::{self, Id};
use super::target::{Candidate, namespace};
use super::{Glimpse, INCOMPLETE, MIXED, Scanner, Uses};
use crate::failure::Failure;
use crate::say::{Shown, tell};

/// What fanotify doesn't tell: mappings, F_SETFL, descriptors that come by a socket.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Without it: as often as this, but never more than a tenth of the time.
const POLL: Duration = Duration::from_millis(100);
const MOUNTS_CHANGE: Duration = Duration::from_secs(30);

pub fn watch(arguments: &ScanArgs, scanner: Scanner) -> Result<i32, Failure> {
    let failed = |error: nix::Error| Failure::own(format!("can't wait for signals: {error}"), "");
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block().map_err(failed)?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map_err(failed)?;
    let mut watch = Watch {
        told: listen(),
        paths: &arguments.paths,
        changes: Changes::new(arguments.json),
        moved: HashSet::new(),
        scanner,
    };
    watch.mark();
    let complete = watch.look()?;
    watch.begin(complete);
    watch.go_on(signals.as_fd())?;
    Ok(match (watch.changes.was_mixed, complete) {
        (true, _) => MIXED,
        (false, false) => INCOMPLETE,
        (false, true) => 0,
    })
}

/// None: only privileged users may.
fn listen() -> Option<Fanotify> {
    let flags = InitFlags::FAN_CLASS_NOTIF
        | InitFlags::FAN_CLOEXEC
        | InitFlags::FAN_NONBLOCK
        | InitFlags::FAN_UNLIMITED_QUEUE;
    let of_events = EventFFlags::O_RDONLY | EventFFlags::O_LARGEFILE | EventFFlags::O_CLOEXEC;
    Fanotify::init(flags, of_events).ok()
}

struct Watch<'a> {
    told: Option<Fanotify>,
    paths: &'a [PathBuf],
    scanner: Scanner,
    changes: Changes,
    /// Reads and writes that were told.
    moved: HashSet<(u32, Id, bool)>,
}

impl Watch<'_> {
    /// A file is watched itself, wherever it is mounted; what lies under a directory by way of its filesystem: only opens
    /// and closes there, which are fewer.
    fn mark(&mut self) {
        let Some(told) = &self.told else { return };
        let opens = MaskFlags::FAN_OPEN | MaskFlags::FAN_CLOSE;
        for (path, whole) in self.scanner.targets.watched(self.paths) {
            let (flags, mask) = match whole {
                true => (MarkFlags::FAN_MARK_FILESYSTEM, opens),
                false => (
                    MarkFlags::empty(),
                    opens | MaskFlags::FAN_MODIFY | MaskFlags::FAN_ACCESS,
                ),
            };
            let flags = flags | MarkFlags::FAN_MARK_ADD;
            if let Err(error) = told.mark(flags, mask, CWD, Some(path.as_path())) {
                tell(format_args!(
                    "pagefence: {} can't be watched, and is looked at every {} s: {error}",
                    path.shown(),
                    LOOK_AGAIN.as_secs()
                ));
            }
        }
    }

    fn begin(&self, complete: bool) {
        if self.told.is_none() {
            tell(format_args!(
                "pagefence: no fanotify for this user (it needs CAP_SYS_ADMIN): looking every {} ms, so what comes and goes in between is not seen",
                POLL.as_millis()
            ));
        }
        if !complete {
            tell("pagefence: some processes can't be looked at (pagefence scan says which)");
        }
    }

    /// Everything, whatever was told. Whether all could be looked at.
    fn look(&mut self) -> Result<bool, Failure> {
        let report = self.scanner.report();
        self.changes.all(report.files)?;
        Ok(report.complete)
    }

    fn go_on(&mut self, signals: BorrowedFd) -> Result<(), Failure> {
        let (mut looked, mut marked) = (Instant::now(), Instant::now());
        let mut every = self.told.as_ref().map_or(POLL, |_| LOOK_AGAIN);
        loop {
            let left = every.saturating_sub(looked.elapsed());
            let timeout = Timespec::try_from(left).unwrap_or_default();
            let mut ready = vec![PollFd::from_borrowed_fd(signals, PollFlags::IN)];
            ready.extend(
                self.told
                    .iter()
                    .map(|told| PollFd::new(told, PollFlags::IN)),
            );
            // Interrupted it looks once more.
            let _ = poll(&mut ready, Some(&timeout));
            if !ready[0].revents().is_empty() {
                return Ok(());
            }
            let events = ready.get(1).is_some_and(|told| !told.revents().is_empty());
            drop(ready);
            if events {
                self.hear()?;
            }
            if marked.elapsed() >= MOUNTS_CHANGE {
                self.scanner.targets.refresh();
                self.mark();
                marked = Instant::now();
            }
            if looked.elapsed() >= every {
                let begun = Instant::now();
                self.look()?;
                looked = Instant::now();
                every = every.max(10 * (looked - begun));
            }
        }
    }

    fn hear(&mut self) -> Result<(), Failure> {
        let events = self.told.as_ref().and_then(|told| told.read_events().ok());
        for event in events.unwrap_or_default() {
            if event.mask().contains(MaskFlags::FAN_Q_OVERFLOW) {
                tell("pagefence: the kernel had to drop events: some openers were missed");
                self.look()?;
            } else if event.pid() != std::process::id() as i32 {
                self.event(&event)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &FanotifyEvent) -> Result<(), Failure> {
        let Some(fd) = event.fd() else { return Ok(()) };
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let Ok(Some(seen)) = seen::at(CWD, &link) else {
            return Ok(());
        };
        let pid = event.pid().unsigned_abs();
        // What it has open is looked at first: it may be gone in a moment.
        let glimpse = match event.mask().contains(MaskFlags::FAN_OPEN) {
            true => self.scanner.glimpse(pid, seen.id),
            false => None,
        };
        let path = || {
            let path = std::fs::read_link(&link).ok()?;
            Some(std::os::unix::ffi::OsStringExt::into_vec(
                path.into_os_string(),
            ))
        };
        let meant = self.scanner.targets.contains(&Candidate {
            seen,
            namespace: namespace(&pid.to_string()),
            process: pid,
            path: &path,
        });
        if !meant {
            return Ok(());
        }
        let path = policy::Escaped(&path().unwrap_or_default()).to_string();
        self.moved(event, pid, seen.id, &path)?;
        let closed = MaskFlags::FAN_CLOSE_WRITE | MaskFlags::FAN_CLOSE_NOWRITE;
        match event.mask().intersects(closed | MaskFlags::FAN_OPEN) {
            true => self.opened_or_closed(event, pid, seen.id, &path, glimpse),
            false => Ok(()),
        }
    }

    fn moved(
        &mut self,
        event: &FanotifyEvent,
        pid: u32,
        id: Id,
        path: &str,
    ) -> Result<(), Failure> {
        for (mask, writes) in [
            (MaskFlags::FAN_ACCESS, false),
            (MaskFlags::FAN_MODIFY, true),
        ] {
            if event.mask().contains(mask) && self.moved.insert((pid, id, writes)) {
                let name = if writes { "written" } else { "read" };
                self.changes.tell(&Change::bare(name, path, pid))?;
            }
        }
        Ok(())
    }

    fn opened_or_closed(
        &mut self,
        event: &FanotifyEvent,
        pid: u32,
        id: Id,
        path: &str,
        glimpse: Option<Glimpse>,
    ) -> Result<(), Failure> {
        let now = self.scanner.uses_of(pid);
        let has_it = |uses: &Uses| uses.iter().any(|(of, ..)| *of == id);
        if !now.as_ref().is_ok_and(has_it) {
            match glimpse {
                Some(one) => {
                    let uses = vec![(id, one.filesystem, one.user)];
                    self.changes.of_process(pid, uses)?;
                }
                None if !event.mask().contains(MaskFlags::FAN_OPEN) => {}
                None if self.changes.knows(pid, id) => {}
                None => self.changes.tell(&Change::bare("passed", path, pid))?,
            }
            self.moved.retain(|(of, file, _)| (*of, *file) != (pid, id));
        }
        match now {
            Ok(uses) => self.changes.of_process(pid, uses),
            Err(Gone::Ended) => self.changes.of_process(pid, Vec::new()),
            Err(Gone::Denied) => Ok(()),
        }
    }
}
