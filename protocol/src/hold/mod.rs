//! What a call holds while it is made: ranges in the lock table, the file offset, and what its frame has to give back.

pub mod all_direct;
pub mod attempt;
pub mod beyond;
pub mod bounce;
pub mod call;
pub mod cancellation;
#[cfg(test)]
mod direct_lane_tests;
pub mod extents;
pub mod give_back;
pub mod in_place;
pub mod lane;
#[cfg(test)]
mod lane_tests;
#[cfg(test)]
mod mode_tests;
pub mod observed;
pub mod ranges;
#[cfg(test)]
mod recorded_lane_tests;
pub mod slots;
pub mod terms;
#[cfg(test)]
mod tests;
pub mod together;
pub mod unmixed;
pub mod view;
pub mod way_back;
