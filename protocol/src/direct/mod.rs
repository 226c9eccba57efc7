//! Direct I/O under a held range: the look at what it left in the cache, the repair, and falling back to the cache.

pub mod alignment;
pub mod append;
pub mod beyond;
pub mod refused;
mod request;
pub mod second;
pub mod surrender;
pub mod writeback;

pub use request::*;
