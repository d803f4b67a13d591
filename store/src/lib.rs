//! Messages to files.

mod json_file;

pub use json_file::{JsonFile, JsonFileError};
