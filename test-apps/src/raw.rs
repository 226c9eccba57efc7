//! Reading and writing without the C library: by system calls that stand in the program as instructions, as `rustix` makes
//! them, and as people write them.

use crate::random::Random;
use crate::sys::{PAGE, Res, now};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// A file, and the chance by which each call is made.
pub struct Raw {
    file: OwnedFd,
    random: Random,
}

impl Raw {
    pub fn open(path: &Path, direct: bool) -> Res<Raw> {
        let mut flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        if direct {
            flags |= OFlags::DIRECT;
        }
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
        let file = file.map_err(|error| format!("open {}: {error}", path.display()))?;
        Ok(Raw {
            file,
            random: Random::new(now()),
        })
    }

    fn transfer(&mut self, write: bool, bytes: &mut [u8], at: u64) -> Res<&'static str> {
        let (by, done) = match (self.random.between(0, 2), write) {
            (0, false) => ("rustix", rustix::io::pread(&self.file, &mut *bytes, at)),
            (0, true) => ("rustix", rustix::io::pwrite(&self.file, bytes, at)),
            (1, _) => ("an instruction", self.call(write, bytes, at)),
            _ => ("a vector", self.vector(write, bytes, at)),
        };
        match done {
            Ok(n) if n == bytes.len() => Ok(by),
            Ok(n) => Err(format!("{by}: {} bytes at {at}: {n}", bytes.len())),
            Err(error) => Err(format!("{by}: {} bytes at {at}: {error}", bytes.len())),
        }
    }

    /// By a number that the instruction doesn't know.
    #[cfg(target_arch = "x86_64")]
    fn call(&self, write: bool, bytes: &mut [u8], at: u64) -> rustix::io::Result<usize> {
        let number = match write {
            true => libc::SYS_pwrite64,
            false => libc::SYS_pread64,
        };
        let result: isize;
        // SAFETY: the kernel's convention; the bytes are ours.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") number as isize => result,
                in("rdi") self.file.as_raw_fd(), in("rsi") bytes.as_mut_ptr(), in("rdx") bytes.len(), in("r10") at,
                lateout("rcx") _, lateout("r11") _,
                options(nostack),
            );
        }
        usize::try_from(result).map_err(|_| rustix::io::Errno::from_raw_os_error(-result as i32))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn call(&self, write: bool, bytes: &mut [u8], at: u64) -> rustix::io::Result<usize> {
        self.vector(write, bytes, at)
    }

    /// In two parts.
    fn vector(&self, write: bool, bytes: &mut [u8], at: u64) -> rustix::io::Result<usize> {
        let (a, b) = bytes.split_at_mut(bytes.len() - bytes.len().min(PAGE as usize));
        match write {
            true => {
                let parts = [std::io::IoSlice::new(a), std::io::IoSlice::new(b)];
                rustix::io::pwritev(&self.file, &parts, at)
            }
            false => {
                let mut parts = [std::io::IoSliceMut::new(a), std::io::IoSliceMut::new(b)];
                rustix::io::preadv(&self.file, &mut parts, at)
            }
        }
    }
}

impl Raw {
    /// Says by which way.
    pub fn read(&mut self, bytes: &mut [u8], at: u64) -> Res<&'static str> {
        self.transfer(false, bytes, at)
    }

    pub fn write(&mut self, bytes: &mut [u8], at: u64) -> Res<()> {
        self.transfer(true, bytes, at).map(drop)
    }
}
