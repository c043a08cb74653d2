pub mod inbox;
pub mod names;
