//! As much of an ELF file as tells whether a library can be preloaded into it, for the command: read by the same code as
//! the library uses at exec.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

pub use kernel::program::{Abi, Elf};

/// Reads the headers: `Ok(None)` when it is no ELF file.
pub fn read(file: &File) -> io::Result<Option<Elf>> {
    kernel::program::elf(file.as_raw_fd())
        .map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

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
