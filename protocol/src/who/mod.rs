//! Who calls: this process, its threads, what becomes of both in a child and in the next program, and what a sandbox
//! leaves us.

pub mod exec;
pub mod filter;
pub mod fork;
pub mod handed_on;
pub mod needs;
pub mod process;
pub mod registry;
pub mod rights;
pub mod sandbox;
pub mod scratch;
pub mod thread;
pub mod variables;
