//! Headers: each declared once, one file per request family.

#[macro_use]
mod declare;

mod consumer_offset;
mod pull;
mod queue_offset;
mod send;

pub use consumer_offset::*;
pub use declare::{ExtField, Header, HeaderError};
pub use pull::*;
pub use queue_offset::*;
pub use send::*;
