//! (empty)
pub mod summary;
