//! Bytes to types and back: frames, commands, headers, bodies, messages and records.
//!
//! Pure: no sockets, files, clocks or threads.

pub mod code;
pub mod message;
