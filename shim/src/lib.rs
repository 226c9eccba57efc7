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
            redhook::hook! {
                unsafe fn $name($($arg: $type),*) -> $result => hook {
                    let $real = redhook::real!($name);
                    // SAFETY: the real function gets exactly what the program gave for it.
                    #[allow(unused_unsafe)]
                    unsafe { $body }
                }
            }
            /// What the name stands for without us.
            pub fn real() -> unsafe extern "C" fn($($type),*) -> $result {
                redhook::real!($name)
            }
        }
    };
}
pub(crate) use member;

/// All of a file's hooks, looked up now rather than in the middle of a call. After `newer` stand those
/// that libc has had for so short a time (glibc 2.34, 2.36) that they may be missing.
macro_rules! resolve_all {
    ($($name:ident),+ $(; newer $($newer:ident),+)? $(,)?) => {
        pub fn resolve() {
            $($name::real();)+
            $($(if $crate::exists(concat!(stringify!($newer), "\0").as_bytes()) {
                $newer::real();
            })+)?
        }
    };
}
pub(crate) use resolve_all;

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
    elsewhere::resolve();
    uncovered::resolve();
    protocol::process::init();
}
