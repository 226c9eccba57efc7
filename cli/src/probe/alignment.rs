//! Which alignment direct I/O asks for: what the file says, and what is granted.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use serde::Serialize;

use super::place::Memory;

#[derive(Serialize)]
pub struct Said {
    pub memory: u32,
    pub offset: u32,
}

#[derive(Serialize)]
pub struct Alignment {
    pub said: Option<Said>,
    pub memory_read: Option<usize>,
    pub memory_write: Option<usize>,
    pub offset_read: Option<usize>,
    pub offset_write: Option<usize>,
}

const PLACES: [usize; 9] = [1, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];
const ADDRESSES: [usize; 8] = [1, 2, 4, 8, 64, 512, 1024, 4096];
/// Of a request whose address is tried: two pages, so that it crosses one.
const LEN: usize = 8192;

pub fn measure(direct: &File) -> io::Result<Alignment> {
    let mut memory = Memory::of(b'l', 2 * 65536)?;
    let said = kernel::direct_alignment(direct.as_raw_fd()).ok().flatten();
    let least = |of: &[usize], granted: &mut dyn FnMut(usize) -> io::Result<usize>| {
        of.iter().copied().find(|one| granted(*one).is_ok())
    };
    let buffer = memory.bytes_mut();
    // An odd multiple: what is granted there isn't for a larger alignment.
    Ok(Alignment {
        said: said.map(|(memory, offset)| Said { memory, offset }),
        offset_read: least(&PLACES, &mut |at| {
            direct.read_at(&mut buffer[..at], at as u64)
        }),
        offset_write: least(&PLACES, &mut |at| direct.write_at(&buffer[..at], at as u64)),
        memory_read: least(&ADDRESSES, &mut |at| {
            direct.read_at(&mut buffer[at..at + LEN], 65536)
        }),
        memory_write: least(&ADDRESSES, &mut |at| {
            direct.write_at(&buffer[at..at + LEN], 65536)
        }),
    })
}
