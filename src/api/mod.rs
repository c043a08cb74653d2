//! The functions that SQL sees: read the arguments, call the module that does the work, shape the result.

pub mod read;
