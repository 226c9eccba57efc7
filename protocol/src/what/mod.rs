//! What a call is about: numbers, the open file descriptions and files behind them, their names, and the mappings by
//! which a file may be dirtied through memory.

pub mod data;
pub mod descriptors;
pub mod early;
pub mod files;
pub mod maps;
pub mod names;
pub mod own;
pub mod places;
pub mod replace;
pub mod rings;
pub mod routes;
pub mod storage;
pub mod unseen;
