//! Programs linked with AddressSanitizer: its runtime ends the program at the start if another library comes first in
//! the list, and asks this function for its options. What it guards against, a library that takes the place of its own
//! interceptors, we don't do: our hooks call on to them. ASAN_OPTIONS comes after and says the last word.

use core::ffi::c_char;

/// Asked by the runtime before anything of ours is set up. A program that has one of its own is asked instead.
#[unsafe(no_mangle)]
pub extern "C" fn __asan_default_options() -> *const c_char {
    c"verify_asan_link_order=0".as_ptr()
}
