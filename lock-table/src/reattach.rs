//! After a fork: the child registers as the process that it is. And what else is opened or asked about again: the
//! probe's description, and whether newcomers still find this table.

use core::sync::atomic::Ordering::{Relaxed, Release};

use kernel::high;
use rustix::fd::{BorrowedFd, RawFd};
use rustix::fs::{self, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::Table;
use crate::checks::{Fd, OPEN, identity, look, open_link};
use crate::error::{Fault, TableError};
use crate::served;

impl Table {
    /// In a forked child, before anything else is done with the table: what is its parent's is not its own. It holds nothing
    /// and can take nothing until it has registered ([`Table::reattach_in_child`]), now or later.
    pub fn forget_parent(&self) {
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

    /// In a forked child, before it takes anything of the table: registers it as the process that it is, with a
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
        if self.is_served() {
            return self.serves_another();
        }
        let unnamed = self.with_probe(|probe| {
            // SAFETY: only asked about; a closed number is an error, and another file is no answer.
            let borrowed = (probe >= 0).then(|| unsafe { BorrowedFd::borrow_raw(probe) });
            let stat = borrowed.and_then(|probe| fs::fstat(probe).ok());
            stat.is_some_and(|stat| identity(&stat) == self.id && stat.st_nlink == 0)
        });
        unnamed || fs::lstat(self.path.as_c_str()).is_ok_and(|stat| identity(&stat) != self.id)
    }

    /// Whether a service gives it to whoever comes.
    pub(crate) fn is_served(&self) -> bool {
        self.place() != self.id
    }

    fn place(&self) -> (u64, u64) {
        let [device, inode] = &self.at;
        (device.load(Relaxed), inode.load(Relaxed))
    }

    /// A service that was started anew listens at another socket. It is asked once what it gives now.
    fn serves_another(&self) -> bool {
        let is_same = |stat: &Stat| identity(stat) == self.place();
        if fs::lstat(self.path.as_c_str()).is_ok_and(|stat| is_same(&stat)) {
            return false;
        }
        let Ok(now) = look(&self.path) else {
            return false; // nobody is given any table now
        };
        if now.id == self.id {
            let [device, inode] = &self.at;
            device.store(now.at.0, Relaxed);
            inode.store(now.at.1, Relaxed);
        }
        now.id != self.id
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
    pub(crate) fn open_again(&self, through: RawFd) -> Result<Fd, Errno> {
        let flags = OPEN.difference(OFlags::NOFOLLOW);
        let asked = [libc::AT_FDCWD as usize, 0, flags.bits() as usize, 0, 0, 0];
        if !kernel::may(libc::SYS_openat as usize, &asked) {
            return Err(Errno::NOSYS); // a sandbox
        }
        if through >= 0
            && let Ok(fd) = open_link(through, flags)
            && self.is_table(fd.0)
        {
            return Ok(fd);
        }
        let fd = match self.is_served() {
            true => served::receive(&self.path, OPEN).map_err(|_| Errno::STALE)?,
            false => Fd::from(fs::openat(
                fs::CWD,
                self.path.as_c_str(),
                OPEN,
                Mode::empty(),
            )?),
        };
        if self.is_table(fd.0) {
            Ok(fd)
        } else {
            Err(Errno::STALE)
        }
    }

    pub(crate) fn open_for_a_question(&self) -> Option<RawFd> {
        self.open_again(-1).ok().map(Fd::keep)
    }
}
