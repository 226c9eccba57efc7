//! What direct I/O is to be aligned to, and who decides it. What a file says (`statx`) it always grants. Of the rest
//! the kernel grants some: a buffer at any address whose pieces don't cross a page, a length whose end lies past the end
//! of the file. So it is asked: such a request is made directly first, and what it grants is done through the cache,
//! too, where mappings see it. The range is held meanwhile, and the cache is the truth of it: what the kernel writes
//! back for the direct call is not older than what is on the device.

use core::sync::atomic::Ordering::Relaxed;

use crate::direct::Request;
use crate::what::data::Position;
use crate::what::file::{BLOCK_DEVICE, File};
use crate::what::places;

/// What direct I/O must be aligned to; 1: nothing is asked.
#[derive(Clone, Copy)]
pub struct Alignment {
    pub memory: u64,
    pub offset: u64,
}

pub fn alignment(file: &File, fd: i32) -> Alignment {
    let known = file.alignment.load(Relaxed);
    if known != 0 {
        return Alignment {
            memory: known >> 32,
            offset: known & 0xffff_ffff,
        };
    }
    const USUAL: (u32, u32) = (512, 512);
    const EXT4: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    let (memory, offset) = match kernel::direct_alignment(fd) {
        Ok(Some(said)) => said,
        _ if file.has(BLOCK_DEVICE) => USUAL,
        Ok(None) => (1, 1),
        // An old kernel, or a filter that refuses statx.
        Err(_) if matches!(kernel::filesystem_magic(fd), Some(EXT4 | XFS)) => USUAL,
        Err(_) => (1, 1),
    };
    let packed = u64::from(memory) << 32 | u64::from(offset);
    file.alignment.store(packed, Relaxed);
    Alignment {
        memory: memory.into(),
        offset: offset.into(),
    }
}

impl Alignment {
    /// Whether these places and lengths are multiples of what they must be.
    pub fn has_place(&self, all: [u64; 3]) -> bool {
        all.into_iter().all(|value| is_multiple(value, self.offset))
    }

    /// Whether one buffer isn't as it must be.
    pub fn lacks_memory(&self, base: u64, len: usize) -> bool {
        !is_multiple(base, self.memory) || !is_multiple(len as u64, self.memory)
    }
}

fn is_multiple(value: u64, of: u64) -> bool {
    of <= 1 || value.is_multiple_of(of)
}

impl Request<'_> {
    /// Whether the kernel grants this place and these buffers for certain.
    #[inline(never)]
    pub fn is_aligned(&self) -> bool {
        let align = alignment(self.file(), self.call.fd);
        let asked = self.asked_place().unwrap_or(self.position);
        align.has_place([self.position, asked, self.under.len])
            && !self
                .call
                .data
                .any_element(|base, len| align.lacks_memory(base as u64, len))
    }

    /// Where an append would begin if it were none: XFS looks at that, too.
    pub fn asked_place(&self) -> Option<u64> {
        match self.call.at {
            _ if !self.append => None,
            Position::At(offset) => Some(offset as u64),
            Position::Offset => u64::try_from(kernel::lseek(self.call.fd, 0, libc::SEEK_CUR)).ok(),
        }
    }

    /// The program's own direct read.
    pub fn read_direct(&self, real: &dyn Fn() -> isize) -> isize {
        places::pin_buffers(self.frame, &self.call.data);
        real()
    }
}
