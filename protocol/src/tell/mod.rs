//! What is said: the vocabulary of events, and the ways they go: stderr, the trace, the counters.

pub mod counters;
pub mod events;
pub mod once;
pub mod records;
pub mod stderr;
pub mod told;
pub mod trace;
