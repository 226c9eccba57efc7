//! What a call holds while it is made: ranges in the lock table, and what its frame has to give back.

pub mod call;
pub mod cancellation;
pub mod give_back;
pub mod ranges;
