//! Files by their names, which are bytes: the path behind a descriptor.

use core::ffi::CStr;
use std::os::unix::ffi::OsStrExt;

use crate::events::number_path;
use crate::raw;

/// The path behind a descriptor, as the kernel knows it. Empty where it can't be known: there is no `/proc`, or it is
/// longer than the kernel tells.
pub fn path_of(fd: i32, buffer: &mut [u8]) -> &[u8] {
    let n = raw::read_link(number_path(fd).as_c_str(), buffer).unwrap_or(0);
    without_deleted(fd, buffer, n)
}

const DELETED: &[u8] = b" (deleted)";

/// The kernel puts a word behind the last path of a file that has been unlinked. Whoever is really called so still
/// has that name.
fn without_deleted(fd: i32, buffer: &mut [u8], n: usize) -> &[u8] {
    let ends_so = buffer.get(..n).is_some_and(|path| path.ends_with(DELETED));
    let n = match ends_so && !is_named(fd, buffer, n) {
        true => n - DELETED.len(),
        false => n,
    };
    buffer.get(..n).unwrap_or(&[])
}

#[cold]
fn is_named(fd: i32, buffer: &mut [u8], n: usize) -> bool {
    let Some(end) = buffer.get_mut(n) else {
        return false;
    };
    *end = 0;
    let Ok(path) = CStr::from_bytes_until_nul(buffer) else {
        return false;
    };
    let by_name = raw::fstatat(libc::AT_FDCWD, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW);
    match (by_name, raw::fstat(fd)) {
        (Ok(named), Ok(open)) => (named.dev, named.ino) == (open.dev, open.ino),
        _ => false,
    }
}

/// The file name of this process's executable, also when that has been replaced since. In the constructor.
pub fn program() -> Vec<u8> {
    let exe = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let name = exe.file_name().unwrap_or_default().as_bytes();
    let replaced = !exe.exists();
    let real = name.strip_suffix(DELETED).filter(|_| replaced);
    real.unwrap_or(name).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_path_is_bytes_and_what_the_kernel_adds_is_none_of_it() {
        let dir = std::env::temp_dir().join(format!("pagefence-names-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        for name in [b"plain".as_slice(), b"caf\xe9", b"x (deleted)", b"a\nb"] {
            let path = dir.join(OsStr::from_bytes(name));
            let file = fs::File::create(&path).unwrap();
            let mut buffer = [0; 4096];
            let expected = fs::canonicalize(&path).unwrap();
            let expected = expected.as_os_str().as_bytes();
            assert_eq!(path_of(file.as_raw_fd(), &mut buffer), expected);
            fs::remove_file(&path).unwrap();
            assert_eq!(path_of(file.as_raw_fd(), &mut buffer), expected);
        }
        fs::remove_dir(&dir).unwrap();
        assert_eq!(path_of(-1, &mut [0; 64]), b"");
    }
}
