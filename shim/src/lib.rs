//! `libpagefence.so`: the ways into a program's calls, and nothing else.
//!
//! [`table`] says what is covered, an entry for each call; [`doors`] are the ways in: by name, by number, and what is
//! peculiar to some families. An entry names an operation and hands the real call to `protocol`, where all the thinking is.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod allocator;
mod doors;
mod sanitizers;
mod table;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod unwinding;

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    doors::children::resolve();
    doors::text::resolve();
    table::resolve(&doors::scope::Scope::behind_us());
    doors::opens::at_start(&table::opens());
    doors::streams::look_up();
    protocol::life::start::init();
    doors::streams::at_start();
    #[cfg(target_arch = "x86_64")]
    doors::sites::at_start();
}
