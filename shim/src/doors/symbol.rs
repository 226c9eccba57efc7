//! The door of most programs: a function of libc's, or of another library's, by its name.

use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering::*};

use super::scope::Scope;

/// Whose functions a family's names are.
pub trait Library {
    /// What is known of a function `F` of its: `F`, or perhaps none.
    type Found<F>;
    /// Whether it is there when the program starts: then its functions are looked up before the program calls any.
    const AT_START: bool;
    /// What the name stands for without us, as a number that is a `Found`. Kept in `known`.
    fn find(name: &CStr, known: &AtomicUsize) -> usize;
}

pub struct Libc;

/// An older libc may lack a function: a program that finds it all the same, in us, hears what an older kernel would say.
impl Library for Libc {
    type Found<F> = F;
    const AT_START: bool = true;
    #[cold]
    #[inline(never)]
    fn find(name: &CStr, known: &AtomicUsize) -> usize {
        let at = match next_of(name) {
            0 => missing as *const () as usize,
            at => at,
        };
        known.store(at, Release);
        at
    }
}

extern "C" fn missing() -> isize {
    kernel::set_errno(libc::ENOSYS);
    -1
}

/// At the start: the same, where it can be read without the loader.
#[inline(never)]
pub fn find_in(scope: &Scope, name: &CStr, hash: u32, known: &AtomicUsize) {
    match scope.find(name, hash) {
        // Not asked whether it is known: to read a page first costs a fault more.
        Some(at) => known.store(at, Release),
        None => {
            Libc::find(name, known);
        }
    }
}

/// The same of names that libc has for programs that were linked long ago: they are found by their version only.
fn next_of(name: &CStr) -> usize {
    const OLD: [&CStr; 2] = [c"llseek", c"sigvec"];
    const VERSION: &CStr = match cfg!(target_arch = "x86_64") {
        true => c"GLIBC_2.2.5",
        false => c"GLIBC_2.17",
    };
    if !OLD.contains(&name) {
        return next(name);
    }
    // SAFETY: terminated names; nothing is called.
    unsafe { libc::dlvsym(libc::RTLD_NEXT, name.as_ptr(), VERSION.as_ptr()) as usize }
}

/// What the libraries behind this one call by the name; 0: nothing.
pub fn next(name: &CStr) -> usize {
    // SAFETY: a terminated name; nothing is called.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) as usize }
}

pub const fn name(terminated: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(terminated.as_bytes()) {
        Ok(name) => name,
        Err(_) => c"",
    }
}

/// The hook of one name. In `$body`, `$real` is what the name stands for without us; where that may come late, a function
/// that looks for it.
macro_rules! symbol {
    ($library:ident $name:ident ($($arg:ident: $type:ty),*) -> $result:ty, |$real:ident| $body:block) => {
        #[allow(non_snake_case)]
        pub mod $name {
            #[allow(unused_imports)]
            use super::*;
            use core::sync::atomic::{AtomicUsize, Ordering::Acquire};
            use $crate::doors::symbol::Library;
            redhook::hook! {
                unsafe fn $name($($arg: $type),*) -> $result => hook {
                    let $real = $crate::doors::symbol::known! { $library real };
                    // SAFETY: the real function gets exactly what the program gave for it.
                    #[allow(unused_unsafe)]
                    unsafe { $body }
                }
            }
            /// What the name stands for without us.
            pub fn real() -> <$library as Library>::Found<unsafe extern "C" fn($($type),*) -> $result> {
                type Found = <$library as Library>::Found<unsafe extern "C" fn($($type),*) -> $result>;
                let at = match REAL.load(Acquire) {
                    0 => find(),
                    known => known,
                };
                // SAFETY: the function of this name, or what stands for none: one that looks at no arguments, or 0.
                unsafe { core::mem::transmute::<usize, Found>(at) }
            }
            static REAL: AtomicUsize = AtomicUsize::new(0);
            const NAME: &core::ffi::CStr = $crate::doors::symbol::name(concat!(stringify!($name), "\0"));
            /// Looks it up.
            pub fn find() -> usize {
                $library::find(NAME, &REAL)
            }
            /// At the start.
            pub fn find_in(scope: &$crate::doors::scope::Scope) {
                const HASH: u32 = $crate::doors::scope::hash(NAME);
                $crate::doors::symbol::find_in(scope, NAME, HASH, &REAL);
            }
        }
    };
}
pub(crate) use symbol;

macro_rules! known {
    (Libc $real:ident) => {
        $real()
    };
    ($library:ident $real:ident) => {
        $real
    };
}
pub(crate) use known;

/// Whether the table's signature is the `libc` crate's. What it has as variadic, or not at all, can't be compared.
macro_rules! same_signature {
    ($name:ident ($($arg:ident: $type:ty),*) -> $result:ty) => {
        const _: unsafe extern "C" fn($($type),*) -> $result = libc::$name;
    };
}
pub(crate) use same_signature;
