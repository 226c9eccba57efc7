//! Who calls: this process and its threads.

pub mod due;
pub mod lineage;
pub mod lists;
pub mod outlived;
pub mod process;
pub mod registry;
pub mod scratch;
pub mod thread;
