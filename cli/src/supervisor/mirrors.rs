//! Shared mappings. A program maps a file in its own memory, which nobody can do for it; here the same bytes are mapped once
//! more, and never touched, so that the library knows of a mapping that may dirty them. A mirror is made before the mapping,
//! and is writable if ever the mapping can become so; it goes when nobody maps that file shared any more, which is looked
//! for now and then: until then direct I/O there falls back, which is slower and right.

use std::ffi::c_void;
use std::fs;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::thread;
use std::time::{Duration, Instant};

use crate::scan::maps::{self, Line};

use super::listener::Answer;
use super::scene::{Scene, Shared};

/// Between the mirror and the mapping the program may be held up: until its thread makes another call, or for so long.
const AT_LEAST: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_millis(200);
/// Kinds of mappings, and what matters to the library of the rest.
const KEPT: i32 = libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC | libc::MAP_NORESERVE;

#[derive(Default)]
pub struct Mirrors {
    all: Mutex<Vec<Mirror>>,
    /// Those whose mapping may not be there yet.
    awaited: AtomicUsize,
}

struct Mirror {
    at: usize,
    len: usize,
    /// In the file.
    offset: u64,
    file: File,
    process: u32,
    /// The thread that is about to map, until it has.
    thread: Option<u32>,
    since: Instant,
}

/// As the kernel's lists of mappings have it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
}

/// None: it is none of these.
pub fn mapping(scene: &mut Scene) -> Option<Answer> {
    let result = match scene.call.number() {
        libc::SYS_mmap => mapped(scene),
        libc::SYS_mremap => grown(scene),
        libc::SYS_madvise => removed(scene),
        _ => return None,
    };
    Some(result.unwrap_or_else(|answer| answer))
}

/// The program's own mmap follows.
fn mapped(scene: &Scene) -> Result<Answer, Answer> {
    let call = scene.call;
    let (len, prot, flags, offset) = (call.size(1), call.flags(2), call.flags(3), call.offset(5));
    let copy = scene.file(4)?;
    let access = kernel::get_flags(copy.number()).unwrap_or(0) as i32 & libc::O_ACCMODE;
    if access != libc::O_RDWR || len == 0 {
        return Ok(Answer::Itself);
    }
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, where the kernel likes.
    let at = unsafe {
        libc::mmap64(
            ptr::null_mut(),
            len,
            rights,
            flags & KEPT,
            copy.number(),
            offset,
        )
    };
    if at == libc::MAP_FAILED {
        // What can't be written to now can't be later.
        return match prot & libc::PROT_WRITE != 0 {
            true => Err(Answer::Error(kernel::errno())),
            false => Ok(Answer::Itself),
        };
    }
    let Some(file) = file_at(at as usize) else {
        unmap(at as usize, len);
        return Err(Answer::Error(libc::ENOMEM));
    };
    let mirror = Mirror {
        at: at as usize,
        len,
        offset: offset as u64,
        file,
        process: scene.process.number,
        thread: Some(call.thread),
        since: Instant::now(),
    };
    scene.shared.mirrors.add(mirror, scene.shared);
    Ok(Answer::Itself)
}

/// A mapping that grows shows more of the file.
fn grown(scene: &Scene) -> Result<Answer, Answer> {
    let call = scene.call;
    let (at, new_len) = (call.size(0), call.size(2));
    if scene.shared.mirrors.is_empty() {
        return Ok(Answer::Itself);
    }
    let Some((file, offset, _)) = shown_at(scene, at)? else {
        return Ok(Answer::Itself);
    };
    let mut all = scene.shared.mirrors.lock();
    let end = offset.saturating_add(new_len as u64);
    if all.iter().any(|m| m.shows(file, offset) && m.end() >= end) {
        return Ok(Answer::Itself);
    }
    let Some(mirror) = all.iter_mut().find(|m| m.shows(file, offset)) else {
        return Err(Answer::Error(libc::ENOMEM));
    };
    let len = (end - mirror.offset) as usize;
    let from = mirror.at as *mut c_void;
    // SAFETY: a mapping of ours, to which nobody has a pointer.
    let to = unsafe { libc::mremap(from, mirror.len, len, libc::MREMAP_MAYMOVE) };
    if to == libc::MAP_FAILED {
        return Err(Answer::Error(kernel::errno()));
    }
    (mirror.at, mirror.len, mirror.since) = (to as usize, len, Instant::now());
    if mirror.thread.replace(call.thread).is_none() {
        scene.shared.mirrors.awaited.fetch_add(1, AcqRel);
    }
    Ok(Answer::Itself)
}

/// `MADV_REMOVE`: the file is punched, by way of the mirror.
fn removed(scene: &Scene) -> Result<Answer, Answer> {
    let call = scene.call;
    let (at, len) = (call.size(0), call.size(1));
    let page = kernel::page();
    let end = at
        .checked_add(len)
        .and_then(|end| end.checked_next_multiple_of(page));
    let (first, Some(end)) = (at, end.filter(|_| len > 0 && at % page == 0)) else {
        return Ok(Answer::Itself);
    };
    let (mut at, mut has_hole) = (first, false);
    while at < end {
        let next = next_mapped(scene, at)?;
        if next > at && at > first {
            // The kernel goes on behind a hole, and tells of it in the end.
            (at, has_hole) = (next, true);
            continue;
        }
        // What the kernel refuses there, the mirror would let pass.
        let refused = refusal(call.thread, at);
        let Some((file, offset, left)) = shown_at(scene, at)?.filter(|_| refused.is_none()) else {
            return Ok(match refused {
                Some(error) if at > first => Answer::Error(error),
                _ => Answer::Itself,
            });
        };
        let part = left.min(end - at);
        let Some(place) = place_of(scene, file, offset, part) else {
            return Ok(Answer::Itself);
        };
        // SAFETY: a part of a mapping of ours, which nobody reads or writes.
        let result = unsafe { libc::madvise(place as *mut c_void, part, libc::MADV_REMOVE) };
        if result != 0 {
            return Ok(Answer::of(result.into()));
        }
        at += part;
    }
    Ok(match has_hole {
        true => Answer::Error(libc::ENOMEM),
        false => Answer::Result(0),
    })
}

/// In a mirror.
fn place_of(scene: &Scene, file: File, offset: u64, len: usize) -> Option<usize> {
    let all = scene.shared.mirrors.lock();
    let mut all = all.iter();
    let mirror = all.find(|m| m.shows(file, offset) && m.end() >= offset + len as u64)?;
    Some(mirror.at + (offset - mirror.offset) as usize)
}

/// The first address from there on at which anything is mapped, a file or not.
fn next_mapped(scene: &Scene, at: usize) -> Result<usize, Answer> {
    let text = fs::read_to_string(format!("/proc/{}/maps", scene.call.thread));
    let text = text.map_err(|_| scene.out_of_reach())?;
    let bounds = |line: &str| maps::bounds(line.split(' ').next()?);
    let mut all = text.lines().filter_map(bounds);
    let next = all.find(|(_, end)| *end > at);
    Ok(next.map_or(usize::MAX, |(start, _)| start.max(at)))
}

/// Why the kernel wouldn't remove what is mapped there: it is locked in memory, or no file, or not shared by who may write.
fn refusal(thread: u32, at: usize) -> Option<i32> {
    let text = fs::read(format!("/proc/{thread}/smaps")).unwrap_or_default();
    let mut lines = text.split(|byte| *byte == b'\n');
    let is_there = |line: &&[u8]| {
        let bounds = Line::parse(line).and_then(|line| line.bounds());
        bounds.is_some_and(|(first, end)| first <= at && at < end)
    };
    let is_file = lines.any(|line| is_there(&line));
    let flags = lines.find_map(|line| line.strip_prefix(b"VmFlags:"));
    let has = |flag: &[u8]| {
        let mut all = flags.unwrap_or_default().split(|byte| *byte == b' ');
        all.any(|one| one == flag)
    };
    match is_file && !has(b"lo") {
        false => Some(libc::EINVAL),
        true => (!(has(b"sh") && has(b"mw"))).then_some(libc::EACCES),
    }
}

/// Which file the program's mapping shows there, from where on, and how much of it; none where it shows none, shared.
fn shown_at(scene: &Scene, at: usize) -> Result<Option<(File, u64, usize)>, Answer> {
    let maps = fs::read(format!("/proc/{}/maps", scene.call.thread));
    let maps = maps.map_err(|_| scene.out_of_reach())?;
    let mut lines = lines_of_files(&maps);
    let found = lines.find(|(line, first, end)| *first <= at && at < *end && line.is_shared());
    Ok(found.map(|(line, first, end)| {
        let offset = line.offset + (at - first) as u64;
        (File::of(&line), offset, end - at)
    }))
}

fn lines_of_files(maps: &[u8]) -> impl Iterator<Item = (Line<'_>, usize, usize)> {
    let lines = maps.split(|byte| *byte == b'\n');
    lines.filter_map(|line| {
        let line = Line::parse(line)?;
        let (first, end) = line.bounds()?;
        Some((line, first, end))
    })
}

fn file_at(at: usize) -> Option<File> {
    let maps = fs::read("/proc/self/maps").ok()?;
    let found = lines_of_files(&maps).find(|(_, first, end)| *first <= at && at < *end);
    found.map(|(line, _, _)| File::of(&line))
}

fn unmap(at: usize, len: usize) {
    // SAFETY: a mapping of ours, to which nobody has a pointer.
    unsafe { libc::munmap(at as *mut c_void, len) };
}

impl File {
    fn of(line: &Line) -> File {
        File {
            device: line.device,
            inode: line.inode,
        }
    }
}

impl Mirror {
    fn end(&self) -> u64 {
        self.offset + self.len as u64
    }

    fn shows(&self, file: File, offset: u64) -> bool {
        self.file == file && (self.offset..self.end()).contains(&offset)
    }
}

impl Mirrors {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Mirror>> {
        self.all.lock().unwrap_or_else(|held| held.into_inner())
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn add(&self, mirror: Mirror, shared: &'static Shared) {
        let mut all = self.lock();
        let is_first = all.is_empty();
        all.push(mirror);
        self.awaited.fetch_add(1, AcqRel);
        if is_first {
            thread::spawn(|| {
                while !shared.mirrors.is_empty() {
                    thread::sleep(EVERY);
                    shared.mirrors.sweep();
                }
            });
        }
    }

    /// A thread makes a call, so the one before has returned.
    pub fn calls_again(&self, thread: u32) {
        if self.awaited.load(Acquire) == 0 {
            return;
        }
        for mirror in self.lock().iter_mut().filter(|m| m.thread == Some(thread)) {
            mirror.thread = None;
            self.awaited.fetch_sub(1, AcqRel);
        }
    }

    /// Those that mirror nothing any more go. A child may have the mapping from its parent, and nobody was asked.
    pub fn sweep(&self) {
        let mut everybody: Option<Vec<File>> = None;
        let old: Vec<(usize, File, u32)> = self
            .lock()
            .iter()
            .filter(|mirror| mirror.thread.is_none() || mirror.since.elapsed() > AT_LEAST)
            .map(|mirror| (mirror.at, mirror.file, mirror.process))
            .collect();
        for (at, file, process) in old {
            let is_mapped = maps_of(process).contains(&file)
                || everybody
                    .get_or_insert_with(mapped_by_anybody)
                    .contains(&file);
            let mut all = self.lock();
            let place = all.iter().position(|mirror| mirror.at == at);
            if let Some(place) = place.filter(|_| !is_mapped) {
                let gone = all.swap_remove(place);
                if gone.thread.is_some() {
                    self.awaited.fetch_sub(1, AcqRel);
                }
                unmap(gone.at, gone.len);
            }
        }
    }
}

/// Files that a process maps shared.
fn maps_of(process: u32) -> Vec<File> {
    let maps = fs::read(format!("/proc/{process}/maps")).unwrap_or_default();
    let lines = lines_of_files(&maps);
    let shared = lines.filter(|(line, _, _)| line.is_shared());
    shared.map(|(line, _, _)| File::of(&line)).collect()
}

fn mapped_by_anybody() -> Vec<File> {
    let this = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = numbers.filter(|number| *number != this);
    others.flat_map(maps_of).collect()
}
