//! What a call is about: numbers, the open file descriptions and files behind them, their names, and the mappings by
//! which a file may be dirtied through memory.

pub mod changes;
pub mod data;
pub mod descriptions;
pub mod descriptors;
pub mod early;
pub mod entries;
pub mod file;
pub mod files;
pub mod fresh;
pub mod hands;
pub mod identity;
pub mod kept;
pub mod maps;
pub mod names;
pub mod other_names;
pub mod own;
pub mod places;
pub mod raw;
pub mod reach;
pub mod replacing;
pub mod rings;
pub mod routes;
pub mod seconds;
pub mod seen_code;
pub mod state;
pub mod storage;
#[cfg(test)]
mod tests;
pub mod uses;
pub mod words;
