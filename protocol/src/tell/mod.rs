//! What is said: the vocabulary of events, and the ways they go, to stderr, the trace and the counters.

pub mod events;
pub mod told;
pub mod trace;
