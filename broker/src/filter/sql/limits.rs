//! Limits on what an expression can make the broker do; the reference runs out of stack instead.

/// Longest expression. A heartbeat may bring thousands of subscriptions.
pub(super) const MAX_SQL_BYTES: usize = 64 * 1024;

/// Deepest nesting of parentheses, signs and operators. People write four; each level takes some
/// frames of the stack, while compiling and for every message.
pub(super) const MAX_SQL_DEPTH: usize = 100;
