//! What the test programs share: arguments, a work directory, worker processes that are started, watched
//! and killed, a board in shared memory, known content and its oracle, reporting.
//!
//! The programs in `src/bin` are plain programs that mix buffered, direct and mapped I/O on one file from
//! several processes. They know nothing of any library that may be loaded beside them. Each one's oracle
//! forbids only what no order of whole calls could produce. `apps.toml` says for each what it needs and
//! where the bare kernel was seen to fail. Build them with `--release`: unoptimized, they fill and compare
//! memory so slowly that few races are run.

pub mod aio;
pub mod appending;
pub mod args;
pub mod board;
pub mod children;
pub mod collision;
pub mod content;
pub mod doors;
pub mod ends;
pub mod harness;
pub mod posix_aio;
pub mod random;
pub mod raw;
pub mod records;
pub mod referee;
pub mod sys;
pub mod team;

pub use harness::{Setup, Stop};
pub use sys::Res;
