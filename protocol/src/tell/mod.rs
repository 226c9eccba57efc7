//! What is said: the vocabulary of events, and the ways they go: stderr, the trace, the counters.

pub mod called;
pub mod counters;
pub mod events;
mod kept;
pub mod later;
pub mod once;
pub mod records;
pub(crate) mod ring;
pub mod state;
pub mod stderr;
#[cfg(test)]
mod tests;
pub mod told;
pub mod trace;
pub mod vocabulary;
