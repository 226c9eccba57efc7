//! What a call holds while it is made: ranges in the lock table, and the file offset.

pub mod ranges;
