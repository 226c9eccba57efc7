//! Is what stands at a path a table, and one that may be trusted? Found out without changing anything.

use core::ffi::CStr;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

use kernel::text::Text;
use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{self, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::cells::{HEADER_BYTES, Header, MAGIC, SOUND, VERSION};
use crate::error::{Fault, Path};
use crate::geometry::Geometry;
use crate::place::SYSTEM_TABLE;
use crate::served;

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

    pub(crate) fn keep(self) -> RawFd {
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

/// A table that was opened and found sound.
pub(crate) struct Found {
    pub(crate) fd: Fd,
    /// Device and inode of the table.
    pub(crate) id: (u64, u64),
    /// Those of what stands at its path: itself, or the socket of the service that has it.
    pub(crate) at: (u64, u64),
    pub(crate) geometry: Geometry,
}

/// Opens and checks the table at the path: one to be attached to.
pub(crate) fn look(path: &Path) -> Result<Found, Fault> {
    let (fd, stat, at) = open(path, OPEN)?;
    check_file(path, &stat)?;
    check_table(path, fd, &stat, at)
}

/// The same of one that is only read, whoever may write it.
pub(crate) fn look_on(path: &Path) -> Result<Found, Fault> {
    let (fd, stat, at) = open(path, OPEN.difference(OFlags::RDWR))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Fault::NotRegular);
    }
    check_table(path, fd, &stat, at)
}

/// One that somebody is removing is marked as damaged, and has gone from its path before.
fn check_table(path: &Path, fd: Fd, stat: &Stat, at: (u64, u64)) -> Result<Found, Fault> {
    match check_header(&fd, stat.st_size as u64) {
        Ok(geometry) => Ok(Found {
            fd,
            id: identity(stat),
            at,
            geometry,
        }),
        Err(Fault::Poisoned) if !is_at(path, at) => Err(Fault::Replaced),
        Err(other) => Err(other),
    }
}

/// Whether this file stands at the path.
pub(crate) fn is_at(path: &Path, file: (u64, u64)) -> bool {
    fs::lstat(path.as_c_str()).is_ok_and(|at| identity(&at) == file)
}

fn open(path: &Path, flags: OFlags) -> Result<(Fd, Stat, (u64, u64)), Fault> {
    // Opening a device can do things.
    let at = fs::lstat(path.as_c_str()).map_err(Fault::from_errno)?;
    let opened = |fd: &Fd| fs::fstat(fd).map_err(Fault::from_errno);
    match FileType::from_raw_mode(at.st_mode) {
        FileType::RegularFile => {
            let fd = fs::openat(fs::CWD, path.as_c_str(), flags, Mode::empty());
            let fd = Fd::from(fd.map_err(Fault::from_errno)?);
            let stat = opened(&fd)?;
            Ok((fd, stat, identity(&stat)))
        }
        FileType::Socket => {
            let fd = served::receive(path, flags)?;
            let stat = opened(&fd)?;
            Ok((fd, stat, identity(&at)))
        }
        FileType::Symlink => Err(Fault::SymbolicLink),
        _ => Err(Fault::NotRegular),
    }
}

/// What stands at a number, opened anew, where there is a `/proc`. Apart from its callers: to write the number takes room on
/// the stack.
#[inline(never)]
pub(crate) fn open_link(number: RawFd, flags: OFlags) -> Result<Fd, Errno> {
    let link = Text::<64>::of(format_args!("/proc/self/fd/{number}"));
    fs::openat(fs::CWD, link.as_c_str(), flags, Mode::empty()).map(Fd::from)
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
    let own = is_root(stat.st_uid, path) || stat.st_uid == rustix::process::geteuid().as_raw();
    if own || trusted_group(path).is_some_and(|gid| gid == stat.st_gid) {
        Ok(())
    } else {
        Err(Fault::WrongOwner { uid: stat.st_uid })
    }
}

/// The group whose members share the table: that of a set-group-ID directory of root's that others can't write.
pub(crate) fn trusted_group(path: &Path) -> Option<u32> {
    let dir = fs::stat(path.parent().as_c_str()).ok()?;
    let is_shared = dir.st_mode & SETGID != 0 && dir.st_mode & 0o002 == 0;
    (is_root(dir.st_uid, path) && is_shared).then_some(dir.st_gid)
}

/// Whether that user is root; of what stands at the machine's table's path, also the machine's root as a user namespace shows
/// him that has no number for him (a container without privileges): who isn't root there has put nothing at that path.
pub(crate) fn is_root(user: u32, path: &Path) -> bool {
    user == 0 || path.as_c_str() == SYSTEM_TABLE && is_outside(user)
}

/// A user without a number in the namespace that this process is in, where not all have one.
fn is_outside(user: u32) -> bool {
    const SHOWN_AS: u32 = 65534; // as long as nobody has set kernel.overflowuid
    const ALL: &[u8] = b"4294967295";
    let mut map = [0; 256];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let read = fs::openat(fs::CWD, c"/proc/self/uid_map", flags, Mode::empty())
        .map(Fd::from)
        .and_then(|file| rustix::io::read(&file, &mut map));
    let lines = map.get(..read.unwrap_or(0)).unwrap_or_default();
    user == SHOWN_AS && !lines.is_empty() && !lines.trim_ascii_end().ends_with(ALL)
}

/// The same, for who makes what lies at a path.
pub fn trusted_group_of(path: &CStr) -> Option<u32> {
    Path::new(path).and_then(|path| trusted_group(&path))
}

/// Whether a number stands for the whole of a table that this version's programs can be in.
pub fn is_sound_memory(memory: &OwnedFd) -> bool {
    fs::fstat(memory).is_ok_and(|stat| check_header(memory, stat.st_size as u64).is_ok())
}

/// What the first page says.
struct Said {
    magic: u64,
    version: u32,
    sound: u32,
    check: u64,
    geometry: Geometry,
}

impl Said {
    fn by(fd: impl AsFd) -> Result<Said, Fault> {
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
        let said = Said {
            magic: header.magic.load(Acquire),
            version: header.version.load(Relaxed),
            sound: header.sound.load(Relaxed),
            check: header.check.load(Relaxed),
            geometry: Geometry {
                processes: header.processes.load(Relaxed),
                slots: header.slots.load(Relaxed),
                requests: header.requests.load(Relaxed),
                mappings: header.mappings.load(Relaxed),
                uses: header.uses.load(Relaxed),
            },
        };
        // SAFETY: mapped above; the reference is not used any more.
        let _ = unsafe { rustix::mm::munmap(base, HEADER_BYTES as usize) };
        Ok(said)
    }
}

fn check_header(fd: impl AsFd, size: u64) -> Result<Geometry, Fault> {
    if size == 0 {
        return Err(Fault::Empty);
    }
    let said = Said::by(fd)?;
    if said.magic != MAGIC {
        return Err(Fault::NotATable);
    }
    let cut_short = |should| Fault::Truncated { is: size, should };
    if size < HEADER_BYTES {
        return Err(cut_short(Geometry::default().layout().length));
    }
    if said.version != VERSION {
        return Err(Fault::OtherVersion {
            is: said.version,
            should: VERSION,
        });
    }
    if !said.geometry.is_sane() || said.check != said.geometry.check() {
        return Err(Fault::BadGeometry);
    }
    let should = said.geometry.layout().length;
    if size != should {
        return Err(cut_short(should));
    }
    if said.sound != SOUND {
        return Err(Fault::Poisoned);
    }
    Ok(said.geometry)
}

pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
