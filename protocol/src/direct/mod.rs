//! Direct I/O under a held range: the look at what it left in the cache, the repair, and falling back to the cache.

pub mod alignment;
pub mod alone;
pub mod append;
pub mod blocks;
pub mod buffered;
pub mod device;
pub mod past;
pub mod possible;
pub mod read;
pub mod refused;
pub mod repair;
mod request;
pub mod routed;
pub mod second;
pub mod surrender;
#[cfg(test)]
mod tests;
pub mod write;
pub mod writeback;

pub use request::*;
