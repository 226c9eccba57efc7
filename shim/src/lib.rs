//! `libpagefence.so`: the hooks, one file per family of system calls, and nothing else.
//!
//! A hook is a few lines: it names the operation and hands the real call to `protocol`, where all the
//! thinking is. `family!` makes one hook per symbol: aliases of one call stand in one line and share
//! one body.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod allocator;
mod elsewhere;
mod layout;
mod mapping;
mod numbers;
mod process;
mod rights;
mod sanitizers;
mod transfer;
mod uncovered;
mod uring;

/// One hook per name, all with this body. `real` is the function that the name stands for without us.
macro_rules! family {
    ($($name:ident),+ => $arguments:tt -> $result:ty, |$real:ident| $body:block) => {
        $($crate::member! { $name $arguments -> $result, |$real| $body })+
    };
}
pub(crate) use family;

macro_rules! member {
    ($name:ident ($($arg:ident: $type:ty),*) -> $result:ty, |$real:ident| $body:block) => {
        #[allow(non_snake_case)]
        pub mod $name {
            #[allow(unused_imports)]
            use super::*;
            use core::sync::atomic::{AtomicUsize, Ordering::{Acquire, Release}};
            redhook::hook! {
                unsafe fn $name($($arg: $type),*) -> $result => hook {
                    let $real = real();
                    // SAFETY: the real function gets exactly what the program gave for it.
                    #[allow(unused_unsafe)]
                    unsafe { $body }
                }
            }
            /// What the name stands for without us.
            pub fn real() -> unsafe extern "C" fn($($type),*) -> $result {
                static REAL: AtomicUsize = AtomicUsize::new(0);
                let at = match REAL.load(Acquire) {
                    0 => {
                        let at = $crate::find(concat!(stringify!($name), "\0").as_bytes());
                        REAL.store(at, Release);
                        at
                    }
                    known => known,
                };
                // SAFETY: the function of this name, or one that looks at no arguments.
                unsafe { core::mem::transmute::<usize, unsafe extern "C" fn($($type),*) -> $result>(at) }
            }
        }
    };
}
pub(crate) use member;

/// All of a file's hooks, looked up now rather than in the middle of a call.
macro_rules! resolve_all {
    ($($name:ident),+ $(,)?) => {
        pub fn resolve() {
            $($name::real();)+
        }
    };
}
pub(crate) use resolve_all;

/// What a terminated name stands for without us. An older libc may lack it: a program that finds it all the same, in us,
/// hears what an older kernel would say.
#[cold]
fn find(name: &[u8]) -> usize {
    // SAFETY: a terminated name; nothing is called.
    match unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) } as usize {
        0 => missing as *const () as usize,
        at => at,
    }
}

extern "C" fn missing() -> isize {
    protocol::raw::set_errno(libc::ENOSYS);
    -1
}

fn exists(name: &[u8]) -> bool {
    // SAFETY: a terminated name; nothing is called.
    unsafe { !libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()).is_null() }
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    transfer::resolve();
    numbers::resolve();
    mapping::resolve();
    layout::resolve();
    process::resolve();
    rights::resolve();
    elsewhere::resolve();
    uncovered::resolve();
    protocol::start::init();
}
