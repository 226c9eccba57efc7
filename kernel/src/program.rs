//! A program's file, as far as it decides whether a library can be preloaded into it and sees what it does: at exec, in
//! somebody else's process, and for the command. A few reads of bounded length into the caller's room, and no allocation;
//! the file may be anything.

use core::ffi::c_int;
use core::fmt;

use crate::bytes::move_at;

/// As much as the kernel takes of a `#!` line.
pub const LINE_MAX: usize = 256;
/// A script's interpreter may be a script; the kernel follows five.
pub const MOST_INTERPRETERS: usize = 5;
const PATH_MAX: usize = 4096;
/// More program headers than the kernel takes (it wants them in 64 KiB).
const MOST_HEADERS: usize = 65_536 / 56;

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;

/// What a machine word and its code look like: two files of equal `Abi` can share a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abi {
    pub class: u8,
    pub data: u8,
    pub machine: u16,
}

impl Abi {
    /// This code's.
    pub const OWN: Abi = Abi {
        class: if cfg!(target_pointer_width = "64") {
            2
        } else {
            1
        },
        data: if cfg!(target_endian = "little") { 1 } else { 2 },
        machine: if cfg!(target_arch = "aarch64") {
            183
        } else {
            62
        },
    };
}

/// An ELF file that can be run or loaded.
#[derive(Debug)]
pub struct Elf {
    pub abi: Abi,
    /// Go's own mark: whatever else it links, it makes system calls of its own.
    pub is_go: bool,
    /// It is linked with libraries, and so with libc.
    pub has_libraries: bool,
    loader: Option<usize>,
    name: [u8; PATH_MAX],
}

impl Elf {
    /// The loader that it asks for; none in a static program.
    pub fn loader(&self) -> Option<&[u8]> {
        self.loader.and_then(|length| self.name.get(..length))
    }
}

/// Reads the headers: `Ok(None)` when it is no ELF file, `Err` with what is wrong when it is a broken one.
pub fn elf(fd: c_int) -> Result<Option<Elf>, &'static str> {
    let mut start = [0; PATH_MAX];
    let length = read(fd, 0, &mut start);
    let start = start.get(..length).unwrap_or(&[]);
    let known = start.starts_with(b"\x7fELF") && matches!(start.get(4), Some(1 | 2));
    if !known {
        return Ok(None);
    }
    let file = Reader {
        fd,
        start,
        wide: start.get(4) == Some(&2),
        little: start.get(5) != Some(&2),
    };
    file.elf().map(Some)
}

/// Whether a file of that name loads programs, as glibc's does.
pub fn is_glibc_loader(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    name.starts_with(b"ld-linux") || matches!(name, b"ld.so.1" | b"ld64.so.1" | b"ld64.so.2")
}

/// The interpreter that the first bytes of a file name, if they begin with `#!`, as the kernel reads them; and everything
/// behind it: one argument.
pub fn interpreter(start: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = start.get(..LINE_MAX).unwrap_or(start);
    let line = start.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().position(blank).unwrap_or(line.len());
    let (path, argument) = line.split_at_checked(end)?;
    (!path.is_empty()).then(|| (path, argument.trim_ascii()))
}

impl fmt::Display for Abi {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.class == 1 { 32 } else { 64 };
        let machine = match self.machine {
            3 => "Intel 80386",
            8 => "MIPS",
            20 | 21 => "PowerPC",
            22 => "s390",
            40 => "ARM",
            62 => "x86-64",
            183 => "AArch64",
            243 => "RISC-V",
            258 => "LoongArch",
            other => return write!(out, "{bits}-bit, machine number {other}"),
        };
        write!(out, "{bits}-bit {machine}")
    }
}

/// How much could be read.
pub fn read(fd: c_int, offset: u64, into: &mut [u8]) -> usize {
    let (at, len) = (into.as_mut_ptr() as usize, into.len());
    usize::try_from(move_at(false, fd, at, len, offset)).unwrap_or(0)
}

/// A part of the file that a header speaks of.
#[derive(Clone, Copy)]
struct Part {
    kind: u32,
    offset: u64,
    length: u64,
}

/// A file whose start is there, and how its numbers are written.
struct Reader<'a> {
    fd: c_int,
    start: &'a [u8],
    wide: bool,
    little: bool,
}

impl Reader<'_> {
    fn elf(&self) -> Result<Elf, &'static str> {
        let kind = self.head(16, 16, 2)?;
        if !matches!(kind, 2 | 3) {
            return Err("it is neither a program nor a library");
        }
        let mut elf = Elf {
            abi: Abi {
                class: if self.wide { 2 } else { 1 },
                data: if self.little { 1 } else { 2 },
                machine: self.head(18, 18, 2)? as u16,
            },
            is_go: false,
            has_libraries: false,
            loader: None,
            name: [0; PATH_MAX],
        };
        let at = if self.wide {
            self.head(32, 32, 8)?
        } else {
            self.head(28, 28, 4)?
        };
        let size = self.head(54, 42, 2)?;
        let count = self.head(56, 44, 2)? as usize;
        if count > MOST_HEADERS {
            return Err("it has more program headers than there can be");
        }
        if count != 0 && size < if self.wide { 56 } else { 32 } {
            return Err("its program headers are too short");
        }
        let part = |n: usize| self.segment(at.wrapping_add(n as u64 * size));
        for n in 0..count {
            let part = part(n).ok_or("its program headers lie outside of it")?;
            match part.kind {
                PT_INTERP if elf.loader.is_none() => self.loader(&part, &mut elf)?,
                PT_NOTE => elf.is_go |= self.has_go_note(&part),
                PT_DYNAMIC => elf.has_libraries |= self.needs_any(&part),
                _ => {}
            }
        }
        elf.is_go = elf.is_go || self.has_go_section();
        Ok(elf)
    }

    fn loader(&self, part: &Part, elf: &mut Elf) -> Result<(), &'static str> {
        let length = part.length as usize;
        if length > PATH_MAX {
            return Err("the name of its loader is too long");
        }
        let name = elf.name.get_mut(..length).unwrap_or(&mut []);
        if !self.bytes(part.offset, name) {
            return Err("the name of its loader lies outside of it");
        }
        let end = name.iter().position(|byte| *byte == 0);
        elf.loader = Some(end.unwrap_or(length));
        Ok(())
    }

    /// Whether it names a library; those come first.
    fn needs_any(&self, part: &Part) -> bool {
        const NEEDED: u64 = 1;
        let mut first = [0; 8];
        let tag = first.get_mut(..if self.wide { 8 } else { 4 });
        tag.is_some_and(|tag| {
            part.length != 0 && self.bytes(part.offset, tag) && self.number(tag) == NEEDED
        })
    }

    /// The build's number, which Go's own linker leaves, and which other linkers keep.
    fn has_go_note(&self, part: &Part) -> bool {
        const MOST_NOTES: usize = 16;
        let (mut at, end) = (part.offset, part.offset.saturating_add(part.length));
        for _ in 0..MOST_NOTES {
            let mut note = [0; 16];
            if at.saturating_add(16) > end || !self.bytes(at, &mut note) {
                return false;
            }
            let word = |n: usize| note.get(n..n + 4).map_or(0, |b| self.number(b));
            let (name, description, kind) = (word(0), word(4), word(8));
            if name == 4 && kind == 4 && note.get(12..) == Some(b"Go\0\0") {
                return true;
            }
            let padded = |n: u64| n.next_multiple_of(4);
            at = at.saturating_add(12 + padded(name) + padded(description));
        }
        false
    }

    /// The section that the toolchain describes a build in: also where the note was left out.
    fn has_go_section(&self) -> bool {
        const NAME: &[u8] = b"\0.go.buildinfo\0";
        let word = if self.wide { (40, 8) } else { (32, 4) };
        let (Ok(at), Ok(size), Ok(index)) = (
            self.head(word.0, word.0, word.1),
            self.head(58, 46, 2),
            self.head(62, 50, 2),
        ) else {
            return false;
        };
        let mut header = [0; 64];
        let header = header.get_mut(..size as usize).unwrap_or(&mut []);
        if at == 0 || !self.bytes(at.wrapping_add(index * size), header) {
            return false;
        }
        let (offset, length) = if self.wide {
            ((24, 8), (32, 8))
        } else {
            ((16, 4), (20, 4))
        };
        let field = |(at, len): (usize, usize)| header.get(at..at + len).map(|b| self.number(b));
        let (Some(offset), Some(length)) = (field(offset), field(length)) else {
            return false;
        };
        let mut names = [0; PATH_MAX];
        let most = PATH_MAX.min(length as usize);
        let names = names.get_mut(..most).unwrap_or(&mut []);
        let there = read(self.fd, offset, names);
        let names = names.get(..there).unwrap_or(&[]);
        names.windows(NAME.len()).any(|name| name == NAME)
    }

    fn segment(&self, at: u64) -> Option<Part> {
        let mut header = [0; 56];
        let header = header.get_mut(..if self.wide { 56 } else { 32 })?;
        if !self.bytes(at, header) {
            return None;
        }
        let field = |at: usize, len: usize| header.get(at..at + len).map(|b| self.number(b));
        let (offset, length) = if self.wide {
            (field(8, 8)?, field(32, 8)?)
        } else {
            (field(4, 4)?, field(16, 4)?)
        };
        let kind = field(0, 4)? as u32;
        Some(Part {
            kind,
            offset,
            length,
        })
    }

    /// A number of the file's head: where it stands in wide files and in others.
    fn head(&self, wide: usize, narrow: usize, length: usize) -> Result<u64, &'static str> {
        let at = if self.wide { wide } else { narrow };
        let bytes = self.start.get(at..at + length);
        bytes
            .map(|bytes| self.number(bytes))
            .ok_or("its head is cut off")
    }

    fn number(&self, bytes: &[u8]) -> u64 {
        let add = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
        match self.little {
            true => bytes.iter().rev().fold(0, add),
            false => bytes.iter().fold(0, add),
        }
    }

    /// From the start that is there, or else from the file; whether all of them are there.
    fn bytes(&self, at: u64, into: &mut [u8]) -> bool {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let end = from.saturating_add(into.len());
        match self.start.get(from..end) {
            Some(there) => {
                into.copy_from_slice(there);
                true
            }
            None => i64::try_from(at).is_ok() && read(self.fd, at, into) == into.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_as_the_kernel_reads_it() {
        let none: &[u8] = b"";
        assert_eq!(
            interpreter(b"#!/bin/sh\nx"),
            Some((b"/bin/sh".as_slice(), none))
        );
        let python = interpreter(b"#! /usr/bin/python3  -u -O \n");
        assert_eq!(
            python,
            Some((b"/usr/bin/python3".as_slice(), b"-u -O".as_slice()))
        );
        assert_eq!(interpreter(b"#!\n/bin/sh"), None);
        assert_eq!(interpreter(b"/bin/sh"), None);
    }

    #[test]
    fn this_program_is_what_it_is() {
        let own = std::fs::File::open("/proc/self/exe").unwrap();
        let elf = elf(std::os::fd::AsRawFd::as_raw_fd(&own)).unwrap().unwrap();
        assert_eq!(elf.abi, Abi::OWN);
        assert!(is_glibc_loader(elf.loader().unwrap()) && !elf.is_go);
    }
}
