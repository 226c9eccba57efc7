//! liburing's own doors. It makes its system calls itself, so that a ring can only be refused where a program asks
//! liburing for one: by name, which errors liburing's way (a negative number). What only works on a ring that is there
//! already needs no hook: under `refuse` none is made.

use core::ffi::{CStr, c_int, c_uint, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::*};
use libc::size_t;
use protocol::rings;

/// Where to look for liburing when it lies in no scope that all share: a library loaded it for itself.
const NAMES: [&CStr; 3] = [c"liburing.so.2", c"liburing-ffi.so.2", c"liburing.so.1"];

/// What liburing itself does under this name; 0 where there is no liburing.
#[cold]
fn find(name: &CStr) -> usize {
    // SAFETY: terminated names; nothing is called or loaded, and what is there stays: the program is calling it.
    unsafe {
        let next = libc::dlsym(libc::RTLD_NEXT, name.as_ptr());
        if !next.is_null() {
            return next as usize;
        }
        for library in NAMES {
            let handle = libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
            if handle.is_null() {
                continue;
            }
            let found = libc::dlsym(handle, name.as_ptr());
            libc::dlclose(handle);
            if !found.is_null() {
                return found as usize;
            }
        }
    }
    0
}

fn real(cell: &AtomicUsize, name: &CStr) -> usize {
    match cell.load(Acquire) {
        0 => {
            let found = find(name);
            cell.store(found, Release);
            found
        }
        known => known,
    }
}

/// A hook for each name: refused with what liburing returns for a kernel without io_uring, or passed on.
macro_rules! doors {
    ($($name:ident ($($arg:ident: $type:ty),*) -> $result:ty, $refused:expr;)+) => {
        $(
            /// # Safety
            /// As liburing's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $type),*) -> $result {
                static REAL: AtomicUsize = AtomicUsize::new(0);
                const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => c"",
                };
                if rings::refused() {
                    return $refused;
                }
                match real(&REAL, NAME) {
                    0 => $refused,
                    // SAFETY: liburing's function of this name, with what the program gave for it.
                    at => unsafe {
                        core::mem::transmute::<usize, unsafe extern "C" fn($($type),*) -> $result>(at)($($arg),*)
                    },
                }
            }
        )+
    };
}

const NO_SUCH_CALL: c_int = -libc::ENOSYS;

doors! {
    io_uring_queue_init(entries: c_uint, ring: *mut c_void, flags: c_uint) -> c_int, NO_SUCH_CALL;
    io_uring_queue_init_params(entries: c_uint, ring: *mut c_void, params: *mut c_void) -> c_int, NO_SUCH_CALL;
    io_uring_queue_init_mem(entries: c_uint, ring: *mut c_void, params: *mut c_void, memory: *mut c_void, size: size_t) -> c_int, NO_SUCH_CALL;
    io_uring_queue_mmap(fd: c_int, params: *mut c_void, ring: *mut c_void) -> c_int, NO_SUCH_CALL;
    io_uring_get_probe() -> *mut c_void, core::ptr::null_mut();
    io_uring_setup(entries: c_uint, params: *mut c_void) -> c_int, NO_SUCH_CALL;
    io_uring_enter(fd: c_uint, submit: c_uint, complete: c_uint, flags: c_uint, mask: *mut c_void) -> c_int, NO_SUCH_CALL;
    io_uring_enter2(fd: c_uint, submit: c_uint, complete: c_uint, flags: c_uint, argument: *mut c_void, size: size_t) -> c_int, NO_SUCH_CALL;
    io_uring_register(fd: c_uint, operation: c_uint, argument: *const c_void, count: c_uint) -> c_int, NO_SUCH_CALL;
}
