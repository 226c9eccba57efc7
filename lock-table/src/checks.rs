//! Is what stands at a path a table, and one that may be trusted? Found out without changing anything.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{self, FileType, Mode, OFlags, Stat};
use rustix::mm::{MapFlags, ProtFlags};

use crate::cells::{HEADER_BYTES, Header, MAGIC, VERSION};
use crate::error::{Fault, Path};
use crate::geometry::Geometry;

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

/// Opens and checks the table at the path: one to be attached to.
pub(crate) fn look(path: &Path) -> Result<(Fd, Stat, Geometry), Fault> {
    let (fd, stat) = open(path, OPEN)?;
    check_file(path, &stat)?;
    let geometry = check_table(path, &fd, &stat)?;
    Ok((fd, stat, geometry))
}

/// The same of one that is only read, whoever may write it.
pub(crate) fn look_on(path: &Path) -> Result<(Fd, Stat, Geometry), Fault> {
    let (fd, stat) = open(path, OPEN.difference(OFlags::RDWR))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Fault::NotRegular);
    }
    let geometry = check_table(path, &fd, &stat)?;
    Ok((fd, stat, geometry))
}

/// One that somebody is removing is marked as damaged, and has gone from its path before.
fn check_table(path: &Path, fd: &Fd, stat: &Stat) -> Result<Geometry, Fault> {
    check_header(fd, stat.st_size as u64).map_err(|fault| match fault {
        Fault::Poisoned if !is_at(path, identity(stat)) => Fault::Replaced,
        other => other,
    })
}

/// Whether the path leads to this file.
pub(crate) fn is_at(path: &Path, file: (u64, u64)) -> bool {
    fs::lstat(path.as_c_str()).is_ok_and(|at| identity(&at) == file)
}

fn open(path: &Path, flags: OFlags) -> Result<(Fd, Stat), Fault> {
    // Opening a device can do things.
    let at = fs::lstat(path.as_c_str()).map_err(Fault::from_errno)?;
    match FileType::from_raw_mode(at.st_mode) {
        FileType::RegularFile => {}
        FileType::Symlink => return Err(Fault::SymbolicLink),
        _ => return Err(Fault::NotRegular),
    }
    let fd = fs::openat(fs::CWD, path.as_c_str(), flags, Mode::empty());
    let fd = Fd::from(fd.map_err(Fault::from_errno)?);
    let stat = fs::fstat(&fd).map_err(Fault::from_errno)?;
    Ok((fd, stat))
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

/// What the first page says.
struct Said {
    magic: u64,
    version: u32,
    poison: u32,
    check: u64,
    geometry: Geometry,
}

impl Said {
    fn by(fd: &Fd) -> Result<Said, Fault> {
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
            poison: header.poison.load(Relaxed),
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

fn check_header(fd: &Fd, size: u64) -> Result<Geometry, Fault> {
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
    if said.poison != 0 {
        return Err(Fault::Poisoned);
    }
    Ok(said.geometry)
}

pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
