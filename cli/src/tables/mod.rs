//! Lock tables as they are seen from outside: where they are, what stands in them, and which processes and files of this
//! machine that is. It only looks, also at tables that mean harm: nothing is written to them, and who may write them may
//! cut them off meanwhile.

pub mod account;
pub mod cut_off;
pub mod files;
pub mod live;
pub mod mapped;
pub mod place;
