//! Who calls: this process and its threads.

pub mod buffers;
pub mod due;
pub mod ending;
pub mod forking;
pub mod frame;
pub mod handlers;
pub mod installed;
pub mod lane;
pub mod lineage;
pub mod lists;
pub mod outlived;
pub mod own_stack;
pub mod owned;
pub mod process;
mod record;
pub mod registry;
pub mod scratch;
pub mod stacks;
pub mod state;
pub mod thread;
