//! The one table of what is covered: an entry for each call, in families, and everything else comes from it: the hooks,
//! the look for what they stand for, what `syscall` does by number, and the text that the tests read (is a name missing
//! that libc has? a number that a name has? is `docs/coverage.md` right?).
//!
//! ```text
//! "reads from a place": [pread, pread64] unlisted [__pread64] = SYS_pread64
//!     fn(fd: c_int, buf: *mut c_void, n: size_t, at: off64_t) -> ssize_t, |real| {
//!     reads(fd, move || (Data::Buffer(buf, n), Position::At(at), 0), move || real(fd, buf, n, at))
//! }
//! ```
//!
//! It says what the call does; its names, all with this body; its system call's number, with the same body (`real` is then
//! the system call); its signature; and which operation of `protocol` it means. `[...]` are names whose signature is compared
//! with the `libc` crate's, which has those that are `variadic` as such (every register holds something: what isn't given
//! isn't looked at), and doesn't list the `unlisted` ones: most of them libc's own second names. A number behind a name is the
//! glibc that brought it, after 2.17.
//!
//! A number whose arguments aren't the name's comes in a part of its own behind the body: `by SYS_preadv2 fn(...)`. `on
//! "x86_64"`: elsewhere the kernel hasn't got it. A call that has only a number has no names. At the end of a family may
//! stand `jumps { ... }`: names whose hooks `doors::children` makes itself.

use crate::doors::scope::Scope;
use crate::doors::syscall::Meaning;

mod aio;
mod by_number;
mod children;
mod copies;
mod layout;
mod mapping;
mod numbers;
mod others;
mod posix;
mod rights;
mod signals;
mod streams;
mod transfer;
mod uring;

pub use children::{execve, execvpe};
pub use numbers::{close, open, opens};
pub use streams::fdopen;
pub use transfer::write;

pub struct Family {
    /// A line for each call, its parts separated by tabs: what it does, the names, those that are unlisted, the numbers.
    pub calls: &'static str,
    pub numbers: &'static [(core::ffi::c_long, Meaning)],
    /// Looks all names up, rather than in the middle of a call.
    pub resolve: fn(&Scope),
}

pub const FAMILIES: [Family; 14] = [
    transfer::FAMILY,
    copies::FAMILY,
    numbers::FAMILY,
    mapping::FAMILY,
    layout::FAMILY,
    children::FAMILY,
    others::FAMILY,
    streams::FAMILY,
    rights::FAMILY,
    signals::FAMILY,
    aio::FAMILY,
    posix::FAMILY,
    uring::FAMILY,
    by_number::FAMILY,
];

pub fn resolve(scope: &Scope) {
    FAMILIES.iter().for_each(|family| (family.resolve)(scope));
}

/// The table as text, for whoever wants to know what a library that was built covers.
#[unsafe(no_mangle)]
pub static PAGEFENCE_CALLS: [u8; LENGTH] = text();

// While compiling, as below.
#[allow(clippy::indexing_slicing)]
const LENGTH: usize = {
    let mut length = 0;
    let mut family = 0;
    while family < FAMILIES.len() {
        length += FAMILIES[family].calls.len();
        family += 1;
    }
    length
};

#[allow(clippy::indexing_slicing)]
const fn text() -> [u8; LENGTH] {
    let mut all = [0; LENGTH];
    let (mut to, mut family) = (0, 0);
    while family < FAMILIES.len() {
        let calls = FAMILIES[family].calls.as_bytes();
        let mut from = 0;
        while from < calls.len() {
            all[to] = calls[from];
            (to, from) = (to + 1, from + 1);
        }
        family += 1;
    }
    all
}

/// A family: whose functions they are, its title, and its calls.
macro_rules! calls {
    ($library:ident $title:literal {$(
        $does:literal:
            $([$($name:ident $($since:literal)?),+])?
            $(variadic [$($variadic:ident $($variadic_since:literal)?),+])?
            $(unlisted [$($unlisted:ident $($unlisted_since:literal)?),+])?
            $(= $number:ident $(on $arch:literal)?)?
        fn $arguments:tt -> $result:ty, |$real:ident| $body:block
        $(by $other:ident $(on $other_arch:literal)? fn $others:tt -> $other_result:ty, |$other_real:ident| $other_body:block)*
    )*} $(jumps {$(
        $jump_does:literal: $([$($jump:ident),+])? $(unlisted [$($jump_unlisted:ident),+])?;
    )+})?) => {
        $(
            $($($crate::doors::symbol::symbol! { $library $name $arguments -> $result, |$real| $body }
                $crate::doors::symbol::same_signature! { $name $arguments -> $result })+)?
            $($($crate::doors::symbol::symbol! { $library $variadic $arguments -> $result, |$real| $body })+)?
            $($($crate::doors::symbol::symbol! { $library $unlisted $arguments -> $result, |$real| $body })+)?
        )*
        pub const FAMILY: $crate::table::Family = $crate::table::Family {
            calls: concat!(
                "# ", $title, "\n",
                $(
                    $does, "\t",
                    $($(stringify!($name), $("@", stringify!($since),)? " ",)+)?
                    $($(stringify!($variadic), $("@", stringify!($variadic_since),)? " ",)+)? "\t",
                    $($(stringify!($unlisted), $("@", stringify!($unlisted_since),)? " ",)+)? "\t",
                    $(stringify!($number), $("@", $arch,)? " ",)?
                    $(stringify!($other), $("@", $other_arch,)? " ",)* "\n",
                )*
                $($(
                    $jump_does, "\t", $($(stringify!($jump), " ",)+)? "\t", $($(stringify!($jump_unlisted), " ",)+)? "\t\n",
                )+)?
            ),
            numbers: &[
                $(
                    $($(#[cfg(target_arch = $arch)])?
                        $crate::doors::syscall::meaning! { $number $arguments -> $result, |$real| $body },)?
                    $($(#[cfg(target_arch = $other_arch)])?
                        $crate::doors::syscall::meaning! { $other $others -> $other_result, |$other_real| $other_body },)*
                )*
            ],
            resolve: |scope| {
                use $crate::doors::symbol::Library;
                if $library::AT_START {
                    $($($($name::find_in(scope);)+)? $($($variadic::find_in(scope);)+)? $($($unlisted::find_in(scope);)+)?)*
                }
            },
        };
    };
}
pub(crate) use calls;
