//! How much is dirtied at once, and whether a page that could not be dropped is told where Pagefence looks.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::place::{BLOCK, LENGTH, Memory, Place};

#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cache: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

const CACHESTAT: usize = 451;

fn cachestat(file: &File) -> Option<Cachestat> {
    let (range, mut found) = ([0_u64, LENGTH as u64], Cachestat::default());
    let (at, into) = (range.as_ptr() as usize, &raw mut found as usize);
    let fd = usize::try_from(file.as_raw_fd()).ok()?;
    // SAFETY: a number of ours, a range that is read and a structure that is filled in, both of the call's own form.
    let done = unsafe { kernel::any(CACHESTAT, [fd, at, into, 0, 0, 0]) };
    (done == 0).then_some(found)
}

/// Since Linux 6.5.
pub fn has_cachestat(file: &File) -> bool {
    cachestat(file).is_some()
}

/// Dirty pages of the file. None: the kernel doesn't say, or not of this filesystem (an overlay's pages are another file's).
fn dirty_pages(file: &File) -> Option<u64> {
    let found = cachestat(file)?;
    (found.cache > 0).then_some(found.dirty)
}

/// What one byte dirties: the largest folio that writes of 2 MiB were put into.
pub fn folio_kib(place: &Place) -> io::Result<Option<u64>> {
    const WHOLE: usize = 2 << 20;
    place.drop_pages()?;
    let data = vec![b'f'; WHOLE];
    let mut most = None;
    for at in [0, WHOLE, 2 * WHOLE] {
        place.file().write_all_at(&data, at as u64)?;
        place.file().sync_data()?;
        place.file().write_all_at(b"x", (at + WHOLE / 2) as u64)?;
        most =
            most.max(dirty_pages(place.file()).map(|pages| pages * kernel::page() as u64 / 1024));
    }
    place.file().sync_data()?;
    Ok(most.filter(|kib| *kib > 0))
}

pub struct Told {
    pub by: Option<&'static str>,
    pub attempts: u64,
}

/// Stores without pause into a page that is written directly: some time it can't be dropped.
pub fn error_signal(place: &Place, direct: &File) -> io::Result<Told> {
    const LONGEST: Duration = Duration::from_millis(800);
    const LEN: usize = 65536;
    place.fill(b'e')?;
    let (looks, syncs) = (place.open(false)?, place.open(false)?);
    let view = Memory::mapped(place.file(), LEN)?;
    let data = Memory::of(b'd', LEN)?;
    let (done, begun) = (AtomicBool::new(false), Instant::now());
    let is_error = |error: kernel::Raw| error == -(libc::EIO as kernel::Raw);
    let told = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = 0_u8;
            while !done.load(Relaxed) {
                byte = byte.wrapping_add(1);
                view.store(BLOCK, byte);
            }
        });
        let mut told = Ok(Told {
            by: None,
            attempts: 0,
        });
        while begun.elapsed() < LONGEST {
            let Ok(now) = &mut told else { break };
            now.attempts += 1;
            if let Err(error) = direct.write_all_at(data.bytes(), 0) {
                told = Err(error);
                break;
            }
            if is_error(kernel::writeback_error(looks.as_raw_fd(), 0, LEN as u64)) {
                now.by = Some("sync_file_range");
                break;
            }
            // Rarely: it waits for the device. The kernel keeps what it has to tell.
            if now.attempts.is_multiple_of(16) && is_error(kernel::sync(syncs.as_raw_fd(), true)) {
                now.by = Some("fsync");
                break;
            }
        }
        done.store(true, Relaxed);
        told
    });
    // What is owed to nobody: each descriptor is told once.
    let _ = place.file().sync_all();
    told
}
