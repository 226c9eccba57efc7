//! What a call is about: numbers, the open file descriptions and files behind them, their names, and the mappings by
//! which a file may be dirtied through memory.

pub mod data;
pub mod descriptors;
pub mod early;
pub mod entries;
pub mod file;
pub mod files;
pub mod hands;
pub mod identity;
pub mod kept;
pub mod maps;
pub mod names;
pub mod other_names;
pub mod own;
pub mod places;
pub mod replacing;
pub mod rings;
pub mod seconds;
pub mod storage;
pub mod uses;
pub mod words;
