//! Making or opening a table, mapping it, and registering this process in it.

use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, Release};

use kernel::high;
use kernel::locks::Holder;
use rustix::fd::{AsFd, RawFd};
use rustix::mm::{MapFlags, ProtFlags};

use crate::cells::ProcessCell;
use crate::checks::{Found, is_at, look};
use crate::error::{Fault, Path, TableError};
use crate::geometry::Geometry;
use crate::making::make;
use crate::memory::Memory;
use crate::primitive::Bytes;
use crate::{Table, death};

/// How often a table that vanishes or is replaced under our eyes is looked for again.
const TRIES: u32 = 8;
/// How long who finds no place looks again, in nanoseconds: who is turned away stays away for its whole life.
const GRACE_NS: u64 = 20_000_000;

pub(crate) fn path_of(path: &CStr) -> Result<Path, TableError> {
    Path::new(path).ok_or_else(|| {
        let cut = Path::new(c"(path)").unwrap_or(Path::EMPTY);
        TableError::new(Fault::PathTooLong, &cut)
    })
}

impl Table {
    /// Makes a table. It appears at its path complete or not at all, with all its space allocated.
    pub fn create(path: &CStr, geometry: &Geometry) -> Result<(), TableError> {
        let path = path_of(path)?;
        let made = make(&path, geometry).map_err(|fault| match fault {
            // Nobody is to remove what isn't a table.
            Fault::Exists => match look(&path) {
                Err(no @ (Fault::NotRegular | Fault::NotATable | Fault::SymbolicLink)) => no,
                _ => fault,
            },
            other => other,
        });
        made.map_err(|fault| TableError::new(fault, &path))
    }

    /// Attaches to the table at `path`, making it if there is none, registers this process, and cleans up after the
    /// dead. No other thread may fork meanwhile (see `death`).
    pub fn attach(path: &CStr) -> Result<Table, TableError> {
        let path = path_of(path)?;
        let fail = |fault| TableError::new(fault, &path);
        let mut last = Fault::Missing;
        for _ in 0..TRIES {
            last = match open(&path) {
                Ok(table) => match table.register() {
                    Ok(()) => {
                        table.reap();
                        return Ok(table);
                    }
                    // Somebody was removing it: see `removing`.
                    Err(Fault::Full | Fault::Poisoned) if table.was_removed() => Fault::Replaced,
                    Err(fault) => return Err(fail(fault)),
                },
                Err(Fault::Missing) => match make(&path, &Geometry::default()) {
                    // If it isn't found, either, somebody removes them.
                    Ok(()) | Err(Fault::Exists) => Fault::Replaced,
                    Err(fault) => return Err(fail(fault)),
                },
                Err(Fault::Replaced) => Fault::Replaced,
                Err(fault) => return Err(fail(fault)),
            };
        }
        Err(fail(last))
    }

    /// Whether there is a table at `path` that could be attached to. Maps and makes none.
    pub fn is_sound(path: &CStr) -> bool {
        Path::new(path).is_some_and(|path| look(&path).is_ok())
    }

    /// Looks at the table at `path` without registering: nothing can be held through it. Makes none.
    pub fn inspect(path: &CStr) -> Result<Table, TableError> {
        let path = path_of(path)?;
        open(&path).map_err(|fault| TableError::new(fault, &path))
    }

    /// Signs in. A full table may be full of dead.
    pub(crate) fn register(&self) -> Result<(), Fault> {
        if self.is_poisoned() {
            return Err(Fault::Poisoned);
        }
        let fd = self.open_again(self.probe_fd());
        let fd = fd.map_err(Fault::from_errno)?;
        let vacant = || self.vacant(Holder::Description, fd.0);
        let owner = self.or_reap_within(GRACE_NS, vacant);
        let owner = owner.ok_or(Fault::Full)?;
        // Who removes a table marks it before he lets go of the bytes.
        if self.is_poisoned() {
            return Err(Fault::Poisoned);
        }
        let page = death::live(fd.as_fd()).map_err(Fault::from_errno)?;
        self.sign_in(owner, page.as_ptr() as usize)
    }

    /// The same without a description of its own.
    pub(crate) fn register_for_itself(&self, fd: RawFd) -> Result<(), Fault> {
        if self.is_poisoned() {
            return Err(Fault::Poisoned);
        }
        let owner = self.or_reap_within(GRACE_NS, || self.vacant(Holder::Process, fd));
        self.sign_in(owner.ok_or(Fault::Full)?, 0)
    }

    /// A process entry of nobody's, its byte locked through `fd`.
    fn vacant(&self, holder: Holder, fd: RawFd) -> Option<u32> {
        let mut all = (1u32..).zip(self.mem.processes());
        let free = |p: &ProcessCell| p.state.load(Relaxed) == 0;
        let vacant = all.find(|(owner, p)| free(p) && death::lock(holder, fd, *owner).is_ok());
        vacant.map(|(owner, _)| owner)
    }

    /// The entry is this process's for as long as it lives, and so is the byte; the page's mapping, if there is one, is
    /// what keeps it.
    fn sign_in(&self, owner: u32, page: usize) -> Result<(), Fault> {
        // I10: with the byte locked nobody else writes this entry, and nobody who left something lives.
        self.clean(owner);
        let process = self.mem.process(owner).ok_or(Fault::Full)?;
        let [low, high] = halves(kernel::comm());
        let [a, b] = &process.comm;
        a.store(low, Relaxed);
        b.store(high, Relaxed);
        let pid = rustix::process::getpid().as_raw_pid() as u32;
        process.pid.store(pid, Relaxed);
        process.since.store(kernel::now_ns(), Relaxed);
        process.bell.store(0, Relaxed);
        process.state.store(1, Release);
        self.life.store(page, Relaxed);
        self.me.store(owner, Release);
        Ok(())
    }
}

/// What wasn't registered with, or only looked at, leaves nothing behind.
#[cfg(not(miri))]
impl Drop for Table {
    fn drop(&mut self) {
        if self.me().is_some() {
            return; // for the rest of the process's life
        }
        let probe = self.probe_fd();
        // The program may have closed it and opened something else at its number.
        if self.is_table(probe) {
            kernel::close(probe);
        }
        let (start, length) = self.mem.mapping();
        // SAFETY: `open` mapped it, and every reference into it borrows the table.
        let _ = unsafe { rustix::mm::munmap(start, length) };
    }
}

fn halves(comm: [u8; 16]) -> [u64; 2] {
    let n = u128::from_ne_bytes(comm);
    [n as u64, (n >> 64) as u64]
}

/// And maps it.
pub(crate) fn open(path: &Path) -> Result<Table, Fault> {
    map(path, look(path)?, ProtFlags::READ | ProtFlags::WRITE)
}

/// A table without `WRITE` is only read.
pub(crate) fn map(path: &Path, found: Found, rights: ProtFlags) -> Result<Table, Fault> {
    let Found {
        fd,
        id,
        at,
        geometry,
    } = found;
    let length = geometry.layout().length;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let base = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            length as usize,
            rights,
            MapFlags::SHARED,
            &fd,
            0,
        )
    };
    let base =
        NonNull::new(base.map_err(Fault::from_errno)?.cast::<u8>()).ok_or(Fault::Permission)?;
    // SAFETY: a shared mapping of the layout's length, which stays as long as the table.
    let mem = Memory::new(unsafe { Bytes::new(base) }, geometry);
    let table = Table::over(mem, *path, id, at);
    // From here on a drop undoes it all.
    if !is_at(path, at) {
        return Err(Fault::Replaced);
    }
    table.set_probe_fd(high::raise_fd(fd.keep()).map_err(Fault::from_errno)?);
    Ok(table)
}
