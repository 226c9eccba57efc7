//! As much of an ELF file as tells whether a library can be preloaded into it. The files may be
//! anything: every field is checked against the file's length by reading it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: &[u8] = b"\x7fELF";
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_INTERP: u32 = 3;
/// More program headers than the kernel takes (it wants them in 64 KiB).
const MOST_HEADERS: u64 = 65_536 / 56;
const PATH_MAX: u64 = 4096;

/// What a machine word and its code look like: two files of equal `Abi` can share a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abi {
    class: u8,
    data: u8,
    machine: u16,
}

/// An ELF file that can be run or loaded.
#[derive(Debug)]
pub struct Elf {
    pub abi: Abi,
    /// The loader that it asks for; none in a static program.
    pub loader: Option<Vec<u8>>,
}

/// Reads the headers: `Ok(None)` when it is no ELF file.
pub fn read(file: &File) -> io::Result<Option<Elf>> {
    let mut header = [0_u8; 64];
    let length = read_up_to(file, &mut header, 0)?;
    if length < 20 || !header.starts_with(MAGIC) {
        return Ok(None);
    }
    let abi = Abi {
        class: header[4],
        data: header[5],
        machine: u16_at(&header, 18, header[5] == 2),
    };
    let kind = u16_at(&header, 16, abi.is_big_endian());
    if kind != ET_EXEC && kind != ET_DYN {
        return Err(malformed("it is neither a program nor a library"));
    }
    // Only files of our own kind are looked at more closely, and we are 64-bit little-endian.
    let loader = if abi.class == 2 && !abi.is_big_endian() && length == header.len() {
        loader(file, &header)?
    } else {
        None
    };
    Ok(Some(Elf { abi, loader }))
}

/// The kind of process that this command is.
pub fn own_abi() -> io::Result<Abi> {
    let own = read(&File::open(Path::new("/proc/self/exe"))?)?;
    own.map(|elf| elf.abi)
        .ok_or_else(|| malformed("/proc/self/exe is no ELF file"))
}

fn loader(file: &File, header: &[u8; 64]) -> io::Result<Option<Vec<u8>>> {
    let table = u64_at(header, 32);
    let size = u64::from(u16_at(header, 54, false));
    let count = u64::from(u16_at(header, 56, false));
    if size != 56 || count > MOST_HEADERS {
        return Err(malformed("its program headers make no sense"));
    }
    for index in 0..count {
        let mut entry = [0_u8; 56];
        let place = table.checked_add(index * size);
        let place = place.ok_or_else(|| malformed("its program headers lie outside of it"))?;
        file.read_exact_at(&mut entry, place)?;
        if u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]) == PT_INTERP {
            return name(file, u64_at(&entry, 8), u64_at(&entry, 32)).map(Some);
        }
    }
    Ok(None)
}

fn name(file: &File, place: u64, length: u64) -> io::Result<Vec<u8>> {
    if length > PATH_MAX {
        return Err(malformed("the name of its loader is too long"));
    }
    let mut name = vec![0; length as usize];
    file.read_exact_at(&mut name, place)?;
    let end = name.iter().position(|byte| *byte == 0);
    name.truncate(end.unwrap_or(name.len()));
    Ok(name)
}

impl Abi {
    fn is_big_endian(self) -> bool {
        self.data == 2
    }
}

impl std::fmt::Display for Abi {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn read_up_to(file: &File, buffer: &mut [u8], place: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], place + length as u64)? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn u16_at(bytes: &[u8], place: usize, big_endian: bool) -> u16 {
    let pair = [bytes[place], bytes[place + 1]];
    if big_endian {
        u16::from_be_bytes(pair)
    } else {
        u16::from_le_bytes(pair)
    }
}

/// Little-endian, as are all files that are looked at so closely.
fn u64_at(bytes: &[u8], place: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[place..place + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_header_breaks_the_reader() {
        let mut original = std::fs::read("/proc/self/exe").unwrap();
        original.truncate(4096);
        let path = std::env::temp_dir().join(format!("pagefence-elf-test-{}", std::process::id()));
        std::fs::write(&path, &original).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let (mut read_well, mut refused) = (0, 0);
        // Every byte of the header and of the first program headers, made extreme.
        for (place, before) in original.iter().enumerate().take(600) {
            for value in [0, 0x7f, 0xff] {
                file.write_all_at(&[value], place as u64).unwrap();
                match read(&file) {
                    Ok(_) => read_well += 1,
                    Err(_) => refused += 1,
                }
            }
            file.write_all_at(&[*before], place as u64).unwrap();
        }
        for length in (0..200).rev() {
            file.set_len(length).unwrap();
            let _ = read(&file);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read_well > 0 && refused > 0, "{read_well} {refused}");
    }
}
