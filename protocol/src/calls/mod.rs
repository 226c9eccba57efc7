//! What is done, synchronously: reading and writing, changes of layout, mappings, the life of numbers.

pub mod blocks;
pub mod by_name;
pub mod contents;
pub mod copy;
pub mod emptying;
pub mod flags;
pub mod layout;
pub mod leases;
pub mod locked;
pub mod mappings;
pub mod memory;
pub mod moved;
pub mod numbers;
pub mod past;
pub mod piece;
pub mod range;
pub mod recorded;
pub mod registering;
pub mod remaps;
pub mod replace;
pub mod state;
#[cfg(test)]
mod tests;
pub mod transfer;
pub mod unseen;
