//! Whether direct I/O goes past the page cache, and what it leaves in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::place::{Memory, Place};

const PIECE: usize = 4 << 20;
const ROUNDS: usize = 6;

/// Whether a call leaves no page of what it moves in the cache, and brings none there meanwhile: filesystems that go through
/// the cache by themselves may drop the pages when they are done.
fn bypasses(place: &Place, call: impl Fn() -> io::Result<usize>) -> io::Result<bool> {
    let view = Memory::mapped(place.file(), PIECE)?;
    for _ in 0..ROUNDS {
        place.drop_pages()?;
        if view.resident() > 0 || pages_appear(&view, &call)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn pages_appear(view: &Memory, call: impl Fn() -> io::Result<usize>) -> io::Result<bool> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut appeared = false;
            while !appeared && !done.load(Relaxed) {
                appeared = view.resident() > 0;
            }
            appeared || view.resident() > 0
        });
        let moved = call();
        done.store(true, Relaxed);
        let appeared = looks.join().unwrap_or(false);
        moved.map(|_| appeared)
    })
}

pub fn write_bypasses(place: &Place, direct: &File) -> io::Result<bool> {
    let data = Memory::of(b'w', PIECE)?;
    bypasses(place, || direct.write_at(data.bytes(), 0))
}

pub fn read_bypasses(place: &Place, direct: &File) -> io::Result<bool> {
    let mut into = Memory::of(0, PIECE)?;
    let into = std::cell::RefCell::new(into.bytes_mut());
    bypasses(place, || direct.read_at(&mut into.borrow_mut(), 0))
}

/// Whether clean pages stay when they are read directly.
pub fn read_keeps_pages(place: &Place, direct: &File) -> io::Result<bool> {
    let view = Memory::mapped(place.file(), PIECE)?;
    let mut into = Memory::of(0, PIECE)?;
    place.file().read_at(into.bytes_mut(), 0)?;
    let before = view.resident();
    direct.read_at(into.bytes_mut(), 0)?;
    Ok(before > 0 && view.resident() == before)
}

/// Whether a direct write takes the place of a dirty page: for who reads the cache, and on the device.
pub fn dirty_page_replaced(place: &Place, direct: &File) -> io::Result<bool> {
    const LEN: usize = 65536;
    let (old, new) = (Memory::of(b'a', LEN)?, Memory::of(b'b', LEN)?);
    let mut read = Memory::of(0, LEN)?;
    let mut is_new = |file: &File| -> io::Result<bool> {
        file.read_at(read.bytes_mut(), 0)?;
        Ok(read.bytes() == new.bytes())
    };
    place.file().write_all_at(old.bytes(), 0)?;
    direct.write_all_at(new.bytes(), 0)?;
    let in_cache = is_new(place.file())?;
    place.drop_pages()?;
    Ok(in_cache && is_new(direct)? && is_new(place.file())?)
}

/// The same of a page that is mapped, stored to, and then left alone.
pub fn mapped_page_replaced(place: &Place, direct: &File) -> io::Result<bool> {
    const LEN: usize = 65536;
    let view = Memory::mapped(place.file(), LEN)?;
    view.store(0, b'm');
    let new = Memory::of(b'n', LEN)?;
    direct.write_all_at(new.bytes(), 0)?;
    Ok(view.load(0) == b'n' && view.load(LEN - 1) == b'n')
}
