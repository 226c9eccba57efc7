//! Flags of single calls, and features of the kernel: each by trying it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsRawFd;

use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use serde::Serialize;

use super::place::{BLOCK, Memory};

#[derive(Serialize)]
pub struct Both {
    pub buffered: String,
    pub direct: Option<String>,
}

const FLAGS: [(&str, u32); 6] = [
    ("DSYNC", 2),
    ("NOWAIT", 8),
    ("APPEND", 0x10),
    ("NOAPPEND", 0x20),
    ("ATOMIC", 0x40),
    ("DONTCACHE", 0x80),
];

/// By RWF_ names: what `pwritev2` says to each.
pub fn of_calls(
    buffered: &File,
    direct: Option<&File>,
) -> std::io::Result<BTreeMap<&'static str, Both>> {
    let data = Memory::of(b'r', BLOCK)?;
    let tried = |file: &File, flag| {
        let flags = ReadWriteFlags::from_bits_retain(flag);
        match pwritev2(file, &[IoSlice::new(data.bytes())], 0, flags) {
            // It is known, and would have had to wait.
            Ok(_) | Err(Errno::AGAIN) => "yes".to_owned(),
            Err(Errno::OPNOTSUPP | Errno::INVAL) => "no".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    let both = |flag| Both {
        buffered: tried(buffered, flag),
        direct: direct.map(|file| tried(file, flag)),
    };
    Ok(FLAGS
        .into_iter()
        .map(|(name, flag)| (name, both(flag)))
        .collect())
}

/// What the library, or this command, can use.
pub fn of_kernel(file: &File) -> BTreeMap<&'static str, bool> {
    BTreeMap::from([
        ("membarrier_global_expedited", has_membarrier()),
        ("cachestat", super::folios::has_cachestat(file)),
        (
            "statx_dioalign",
            kernel::direct_alignment(file.as_raw_fd()).is_ok_and(|said| said.is_some()),
        ),
        ("pagemap_scan", has_pagemap_scan()),
    ])
}

fn has_membarrier() -> bool {
    const QUERY: usize = 0;
    const GLOBAL_EXPEDITED: isize = 1 << 1;
    // SAFETY: it asks only.
    let known = unsafe { kernel::any(libc::SYS_membarrier as usize, [QUERY, 0, 0, 0, 0, 0]) };
    known > 0 && known & GLOBAL_EXPEDITED != 0
}

/// Of nothing: the kernel says 0, or that it knows no such call.
fn has_pagemap_scan() -> bool {
    /// `struct pm_scan_arg`: its size, flags, start, end, walk_end, vec, vec_len, max_pages and four masks.
    const WORDS: usize = 12;
    let mut arguments = [0_u64; WORDS];
    arguments[0] = size_of_val(&arguments) as u64;
    let call = libc::_IOWR::<[u64; WORDS]>(u32::from(b'f'), 16);
    let Ok(pages) = File::open("/proc/self/pagemap") else {
        return false;
    };
    // SAFETY: the structure has the call's own form, and names an empty range of addresses.
    unsafe { libc::ioctl(pages.as_raw_fd(), call, arguments.as_mut_ptr()) == 0 }
}
