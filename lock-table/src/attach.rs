//! Checking a table, mapping it, and registering this process in it, again after a fork.

use core::ffi::CStr;
use core::fmt::Write;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{self, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::error::{Fault, Path, TableError};
use crate::making::make;
use crate::memory::{Geometry, HEADER_BYTES, Header, MAGIC, Memory, ProcessCell, VERSION};
use crate::primitive::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Bytes};
use crate::{Table, death};
use kernel::high;
use kernel::locks::Holder;

/// How often a table that vanishes or is replaced under our eyes is looked for again.
const TRIES: u32 = 8;
/// How long who finds no place looks again, in nanoseconds: who is turned away stays away for its whole life.
const GRACE_NS: u64 = 20_000_000;
const SETGID: u32 = 0o2000;
pub(crate) const OPEN: OFlags = OFlags::RDWR
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// A descriptor of ours. Not rustix's own type: with its `std` feature that one closes through libc.
pub(crate) struct Fd(pub(crate) RawFd);

impl Fd {
    pub(crate) fn from(fd: OwnedFd) -> Fd {
        Fd(fd.into_raw_fd())
    }

    fn keep(self) -> RawFd {
        let fd = self.0;
        core::mem::forget(self);
        fd
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open until dropped.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        kernel::close(self.0);
    }
}

/// A few bytes of text without an allocation.
pub(crate) struct Text {
    bytes: [u8; 64],
    len: usize,
}

impl Text {
    pub(crate) fn new(args: core::fmt::Arguments<'_>) -> Text {
        let mut text = Text {
            bytes: [0; 64],
            len: 0,
        };
        let _ = text.write_fmt(args); // what does not fit is cut: nothing of ours is that long
        text
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let end = self.len.saturating_add(s.len());
        // One byte stays zero.
        if end >= self.bytes.len() {
            return Err(core::fmt::Error);
        }
        self.bytes
            .get_mut(self.len..end)
            .ok_or(core::fmt::Error)?
            .copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

fn path_of(path: &CStr) -> Result<Path, TableError> {
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
                Ok(table) => {
                    table.register().map_err(fail)?;
                    table.reap();
                    return Ok(table);
                }
                Err(Fault::Missing) => match make(&path, &Geometry::default()) {
                    Ok(()) | Err(Fault::Exists) => Fault::Missing,
                    Err(fault) => return Err(fail(fault)),
                },
                Err(Fault::Replaced) => Fault::Replaced,
                Err(fault) => return Err(fail(fault)),
            };
        }
        Err(fail(last))
    }

    /// Looks at the table at `path` without registering: nothing can be held through it. Makes none.
    pub fn inspect(path: &CStr) -> Result<Table, TableError> {
        let path = path_of(path)?;
        open(&path).map_err(|fault| TableError::new(fault, &path))
    }

    /// What a forked child has of its parent and must not.
    fn forget_parent(&self) {
        self.me.store(0, Release);
        self.life.store(0, Relaxed); // not mapped here: MADV_DONTFORK
        self.reaping.store(false, Release); // a thread of the parent's may have been at it
        self.asking.store(0, Relaxed); // or asking
        self.vain_until.store(0, Relaxed);
        self.locks_for_itself.store(false, Relaxed);
    }

    /// The same as [`Table::reattach_in_child`] for a child that may not open the table, nor may it be tried (a sandbox).
    pub fn reattach_through_probe(&self) -> Result<(), TableError> {
        self.forget_parent();
        let inherited = self.probe_fd();
        let fail = |fault| TableError::new(fault, &self.path);
        if !self.is_table(inherited) {
            return Err(fail(Fault::Permission));
        }
        self.locks_for_itself.store(true, Relaxed);
        self.register_for_itself(inherited).map_err(fail)
    }

    /// In a forked child, before it does anything else with the table: registers it as the process that it is, with a
    /// probe of its own, at the number of the inherited one if that can be had, which is closed; or, where it may not
    /// open the table, through the inherited one. On an error this process holds nothing and can take nothing. What the
    /// parent holds stays the parent's.
    pub fn reattach_in_child(&self) -> Result<(), TableError> {
        self.forget_parent();
        let inherited = self.probe_fd();
        let fresh = self.open_again(inherited);
        if fresh.is_err() && self.is_table(inherited) {
            self.locks_for_itself.store(true, Relaxed);
            return self
                .register_for_itself(inherited)
                .map_err(|fault| TableError::new(fault, &self.path));
        }
        // Closed: its description is the parent's, and so would be the locks taken through it.
        let set = fresh.and_then(|fd| {
            if inherited < 0 && self.on_demand.load(Relaxed) {
                return Ok(-1); // there are no numbers for it
            }
            if inherited >= 0 {
                // The same number again, so that nothing else can come by it in between.
                if high::put_at(fd.0, inherited).is_ok() {
                    return Ok(inherited);
                }
                // It was made under a higher limit than the program has now, and may have.
                kernel::close(inherited);
            }
            let opened = fd.keep();
            high::raise_fd(opened).inspect_err(|_| kernel::close(opened))
        });
        match set {
            Ok(probe) => {
                self.probe.store(probe, Release);
                self.register()
                    .map_err(|fault| TableError::new(fault, &self.path))
            }
            Err(e) => {
                kernel::close(inherited);
                self.probe.store(-1, Release);
                Err(TableError::new(Fault::from_errno(e), &self.path))
            }
        }
    }

    /// Has the table been taken away from where newcomers look for it? True when its file has no name any more, or
    /// when its path leads to another file: who attaches from now on will not see what this process announces. Two
    /// system calls. What can't be known (the path isn't there for us, as after chroot) is no.
    pub fn was_removed(&self) -> bool {
        let asked = [libc::AT_FDCWD as usize, 0, 0, 0, 0, 0];
        if ![libc::SYS_newfstatat, libc::SYS_fstat]
            .iter()
            .all(|nr| kernel::may(*nr as usize, &asked))
        {
            return false; // a sandbox keeps us from looking
        }
        let unnamed = self.with_probe(|probe| {
            // SAFETY: only asked about; a closed number is an error, and another file is no answer.
            let borrowed = (probe >= 0).then(|| unsafe { BorrowedFd::borrow_raw(probe) });
            let stat = borrowed.and_then(|probe| fs::fstat(probe).ok());
            stat.is_some_and(|stat| identity(&stat) == self.id && stat.st_nlink == 0)
        });
        unnamed || fs::lstat(self.path.as_c_str()).is_ok_and(|stat| identity(&stat) != self.id)
    }

    /// Is the descriptor one of this table?
    #[inline(never)]
    pub(crate) fn is_table(&self, fd: RawFd) -> bool {
        if fd < 0 {
            return false;
        }
        // SAFETY: only asked about; a closed number is an error.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        fs::fstat(borrowed).is_ok_and(|stat| identity(&stat) == self.id)
    }

    /// A new open file description of the table: by way of a descriptor, which works when the path leads elsewhere
    /// (chroot), else by the path.
    fn open_again(&self, through: RawFd) -> Result<Fd, Errno> {
        let flags = OPEN.difference(OFlags::NOFOLLOW);
        let asked = [libc::AT_FDCWD as usize, 0, flags.bits() as usize, 0, 0, 0];
        if !kernel::may(libc::SYS_openat as usize, &asked) {
            return Err(Errno::NOSYS); // a sandbox
        }
        if let Some(fd) = open_link(through, flags).filter(|fd| self.is_table(fd.0)) {
            return Ok(fd);
        }
        let fd = Fd::from(fs::openat(
            fs::CWD,
            self.path.as_c_str(),
            OPEN,
            Mode::empty(),
        )?);
        if self.is_table(fd.0) {
            Ok(fd)
        } else {
            Err(Errno::STALE)
        }
    }

    pub(crate) fn open_for_a_question(&self) -> Option<RawFd> {
        self.open_again(-1).ok().map(Fd::keep)
    }

    /// Signs in. A full table may be full of dead.
    fn register(&self) -> Result<(), Fault> {
        if self.is_poisoned() {
            return Err(Fault::Poisoned);
        }
        let fd = self.open_again(self.probe_fd());
        let fd = fd.map_err(Fault::from_errno)?;
        let vacant = || self.vacant(Holder::Description, fd.0);
        let owner = self.or_reap_within(GRACE_NS, vacant);
        let owner = owner.ok_or(Fault::Full)?;
        let page = death::live(fd.as_fd()).map_err(Fault::from_errno)?;
        self.sign_in(owner, page.as_ptr() as usize)
    }

    /// The same without a description of its own.
    fn register_for_itself(&self, fd: RawFd) -> Result<(), Fault> {
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

pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// What stands at a number, opened anew; none: there is no number, or no `/proc`. Apart from its caller: to write the
/// number takes room on the stack.
#[inline(never)]
fn open_link(number: RawFd, flags: OFlags) -> Option<Fd> {
    if number < 0 {
        return None;
    }
    let link = Text::new(format_args!("/proc/self/fd/{number}"));
    let opened = fs::openat(fs::CWD, link.as_c_str(), flags, Mode::empty());
    opened.map(Fd::from).ok()
}

/// Opens and checks the table at the path.
fn look(path: &Path) -> Result<(Fd, Stat, Geometry), Fault> {
    // Opening a device can do things.
    let at = fs::lstat(path.as_c_str()).map_err(Fault::from_errno)?;
    match FileType::from_raw_mode(at.st_mode) {
        FileType::RegularFile => {}
        FileType::Symlink => return Err(Fault::SymbolicLink),
        _ => return Err(Fault::NotRegular),
    }
    let fd = fs::openat(fs::CWD, path.as_c_str(), OPEN, Mode::empty());
    let fd = Fd::from(fd.map_err(Fault::from_errno)?);
    let stat = fs::fstat(&fd).map_err(Fault::from_errno)?;
    check_file(path, &stat)?;
    let geometry = check_header(&fd, stat.st_size as u64)?;
    Ok((fd, stat, geometry))
}

/// And maps it.
fn open(path: &Path) -> Result<Table, Fault> {
    let (fd, stat, geometry) = look(path)?;
    let length = geometry.layout().length;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let base = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            length as usize,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &fd,
            0,
        )
    };
    let base =
        NonNull::new(base.map_err(Fault::from_errno)?.cast::<u8>()).ok_or(Fault::Permission)?;
    // SAFETY: a shared mapping of the layout's length, which stays as long as the table.
    let mem = Memory::new(unsafe { Bytes::new(base) }, geometry);
    let table = Table {
        mem,
        path: *path,
        id: identity(&stat),
        me: AtomicU32::new(0),
        probe: AtomicI32::new(-1),
        asking: AtomicU32::new(0),
        on_demand: AtomicBool::new(false),
        life: AtomicUsize::new(0),
        reaping: AtomicBool::new(false),
        reaped: AtomicU32::new(0),
        locks_for_itself: AtomicBool::new(false),
        vain_until: AtomicU64::new(0),
        poisoned: AtomicBool::new(false),
    };
    // From here on a drop undoes it all.
    if !fs::lstat(path.as_c_str()).is_ok_and(|at| identity(&at) == table.id) {
        return Err(Fault::Replaced);
    }
    table.set_probe_fd(high::raise_fd(fd.keep()).map_err(Fault::from_errno)?);
    Ok(table)
}

/// Is it a file that nobody can have put there but us, root, or whom root lets into the table's directory?
fn check_file(path: &Path, stat: &Stat) -> Result<(), Fault> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Fault::NotRegular);
    }
    if stat.st_mode & 0o002 != 0 {
        return Err(Fault::OpenToAll {
            mode: stat.st_mode & 0o7777,
        });
    }
    let own = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
    if own || trusted_group(path).is_some_and(|gid| gid == stat.st_gid) {
        Ok(())
    } else {
        Err(Fault::WrongOwner { uid: stat.st_uid })
    }
}

/// The group whose members share the table: that of a set-group-ID directory of root's that others can't write.
pub(crate) fn trusted_group(path: &Path) -> Option<u32> {
    let dir = fs::stat(path.parent().as_c_str()).ok()?;
    (dir.st_uid == 0 && dir.st_mode & SETGID != 0 && dir.st_mode & 0o002 == 0).then_some(dir.st_gid)
}

fn check_header(fd: &Fd, size: u64) -> Result<Geometry, Fault> {
    if size == 0 {
        return Err(Fault::Empty);
    }
    // SAFETY: a new mapping of the first page, of which the file has something; behind that there are zeros.
    let base = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            HEADER_BYTES as usize,
            ProtFlags::READ,
            MapFlags::SHARED,
            fd,
            0,
        )
    };
    let base = base.map_err(Fault::from_errno)?;
    // SAFETY: a page, aligned, and a header is made of atomics.
    let header = unsafe { &*base.cast::<Header>() };
    let magic = header.magic.load(Acquire);
    let version = header.version.load(Relaxed);
    let poison = header.poison.load(Relaxed);
    let check = header.check.load(Relaxed);
    let geometry = Geometry {
        processes: header.processes.load(Relaxed),
        slots: header.slots.load(Relaxed),
        requests: header.requests.load(Relaxed),
        mappings: header.mappings.load(Relaxed),
        uses: header.uses.load(Relaxed),
    };
    // SAFETY: mapped above; the reference is not used any more.
    let _ = unsafe { rustix::mm::munmap(base, HEADER_BYTES as usize) };
    if magic != MAGIC {
        return Err(Fault::NotATable);
    }
    if size < HEADER_BYTES {
        return Err(Fault::Truncated {
            is: size,
            should: Geometry::default().layout().length,
        });
    }
    if version != VERSION {
        return Err(Fault::OtherVersion {
            is: version,
            should: VERSION,
        });
    }
    if !geometry.is_sane() || check != geometry.check() {
        return Err(Fault::BadGeometry);
    }
    let should = geometry.layout().length;
    if size != should {
        return Err(Fault::Truncated { is: size, should });
    }
    if poison != 0 {
        return Err(Fault::Poisoned);
    }
    Ok(geometry)
}
