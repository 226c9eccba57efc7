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

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    doors::children::resolve();
    table::resolve();
    protocol::life::start::init();
}
