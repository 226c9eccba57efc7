//! What happens to the whole process: its start, forks, the next program, the giving up of rights, sandboxes. It gives
//! every other room its orders, and none of them calls it.

pub mod exec;
mod filter;
pub mod fork;
pub mod gate;
pub mod handed_on;
pub mod join;
mod launch;
pub mod needs;
pub mod next;
mod no_rings;
mod opened;
pub mod rights;
pub mod room;
pub mod sandbox;
pub mod start;
pub mod started;
pub mod state;
#[cfg(test)]
mod tests;
pub mod variables;
