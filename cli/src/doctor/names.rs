//! Names of system calls that have to do with a file's data or its numbers, for those that are found in code.

/// A number, its name, and whether the library covers it where it is made by libc.
macro_rules! names {
    ($($name:ident),+ $(,)?) => {
        /// Those that read, write, map or move a file's bytes, or make and change its numbers.
        const OF_FILES: &[(i64, &str)] = &[$((libc::$name, stringify!($name))),+];
    };
}

names! {
    SYS_read, SYS_write, SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev, SYS_preadv, SYS_pwritev,
    SYS_preadv2, SYS_pwritev2, SYS_openat, SYS_openat2, SYS_close, SYS_close_range, SYS_dup, SYS_dup3,
    SYS_fcntl, SYS_mmap, SYS_munmap, SYS_mremap, SYS_msync, SYS_ftruncate, SYS_truncate, SYS_fallocate,
    SYS_copy_file_range, SYS_sendfile, SYS_splice, SYS_fsync, SYS_fdatasync, SYS_sync_file_range, SYS_lseek,
    SYS_io_submit, SYS_io_setup, SYS_io_getevents, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
    SYS_execve, SYS_execveat, SYS_process_vm_writev, SYS_open_by_handle_at, SYS_remap_file_pages,
}

#[cfg(target_arch = "x86_64")]
const OLDER: &[(i64, &str)] = &[
    (libc::SYS_open, "SYS_open"),
    (libc::SYS_creat, "SYS_creat"),
    (libc::SYS_dup2, "SYS_dup2"),
    (libc::SYS_fork, "SYS_fork"),
    (libc::SYS_vfork, "SYS_vfork"),
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[(i64, &str)] = &[];

/// The name of one that matters to files.
pub fn of_files(number: u32) -> Option<&'static str> {
    let mut all = OF_FILES.iter().chain(OLDER);
    let found = all.find(|(known, _)| *known == i64::from(number));
    found.map(|(_, name)| name.strip_prefix("SYS_").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_number() {
        let number = |n: i64| u32::try_from(n).unwrap();
        assert_eq!(of_files(number(libc::SYS_pwrite64)), Some("pwrite64"));
        assert_eq!(
            of_files(number(libc::SYS_io_uring_setup)),
            Some("io_uring_setup")
        );
        assert_eq!(of_files(number(libc::SYS_getpid)), None);
    }
}
