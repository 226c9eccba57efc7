//! A library that is preloaded and does nothing but call what it was put before: the floor for all that are. A peer in
//! `scripts/bench peers`.

use libc::{c_char, c_int, c_void, mode_t, off_t, pid_t, size_t, ssize_t};

macro_rules! passes_on {
    ($($name:ident ($($arg:ident: $type:ty),*) -> $result:ty => $hook:ident;)+) => { $(
        redhook::hook! {
            unsafe fn $name($($arg: $type),*) -> $result => $hook {
                // SAFETY: the real function gets exactly what the program gave for it.
                unsafe { redhook::real!($name)($($arg),*) }
            }
        }
    )+ };
}

passes_on! {
    open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => on_open;
    open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int => on_open64;
    close(fd: c_int) -> c_int => on_close;
    read(fd: c_int, to: *mut c_void, len: size_t) -> ssize_t => on_read;
    write(fd: c_int, from: *const c_void, len: size_t) -> ssize_t => on_write;
    pread(fd: c_int, to: *mut c_void, len: size_t, at: off_t) -> ssize_t => on_pread;
    pread64(fd: c_int, to: *mut c_void, len: size_t, at: off_t) -> ssize_t => on_pread64;
    pwrite(fd: c_int, from: *const c_void, len: size_t, at: off_t) -> ssize_t => on_pwrite;
    pwrite64(fd: c_int, from: *const c_void, len: size_t, at: off_t) -> ssize_t => on_pwrite64;
    lseek(fd: c_int, at: off_t, from: c_int) -> off_t => on_lseek;
    lseek64(fd: c_int, at: off_t, from: c_int) -> off_t => on_lseek64;
    mmap(at: *mut c_void, len: size_t, protection: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void => on_mmap;
    mmap64(at: *mut c_void, len: size_t, protection: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void => on_mmap64;
    munmap(at: *mut c_void, len: size_t) -> c_int => on_munmap;
    fork() -> pid_t => on_fork;
}
