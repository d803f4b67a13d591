//! Permission bits of topics and of the broker.
//!
//! Reference: `PermName` (common), 5.5.0.

/// Topics created with this one as their template take its settings.
pub(crate) const INHERIT: i32 = 1;
/// Can be sent to.
pub(crate) const WRITE: i32 = 2;
/// Can be pulled from.
pub(crate) const READ: i32 = 4;

pub(crate) const fn is_readable(perm: i32) -> bool {
    perm & READ == READ
}

pub(crate) const fn is_writeable(perm: i32) -> bool {
    perm & WRITE == WRITE
}
