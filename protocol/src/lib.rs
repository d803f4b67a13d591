//! Bytes to types and back: frames, commands, headers, bodies, messages and records. And what all rooms have in
//! common of settings and locks.
//!
//! Pure: no sockets, files, clocks or threads.

pub mod address;
pub mod advertised_listeners;
pub mod base64;
pub mod body;
pub mod code;
pub mod command;
pub mod config;
pub mod ext_fields;
pub mod fastjson;
pub mod frame;
pub mod header;
pub mod limits;
pub mod live;
pub mod message;
pub mod properties_file;
pub mod route_askers;
mod shorten;
pub mod sync;
pub mod version;

pub use shorten::shorten;
