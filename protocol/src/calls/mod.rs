//! What is done, synchronously: reading and writing, changes of layout, mappings, the life of numbers.

pub mod by_name;
pub mod emptying;
pub mod layout;
pub mod leases;
pub mod locked;
pub mod mappings;
pub mod numbers;
pub mod registering;
pub mod remaps;
pub mod replace;
pub mod transfer;
pub mod unseen;
