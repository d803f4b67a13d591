//! Bits of a record's system flag.
//!
//! Reference: `MessageSysFlag` (common), 5.5.0.

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// Two bits that hold the transaction type; zero is an ordinary message.
pub const TRANSACTION_MASK: i32 = 0xC;
/// Transaction type: prepared (half) message.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// Transaction type: committed message.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// Transaction type: rolled back.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The born host takes 20 bytes (IPv6) instead of 8.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host takes 20 bytes (IPv6) instead of 8.
pub const STORE_HOST_V6: i32 = 0x20;
/// The body is a batch that a consumer has to unwrap.
pub const NEED_UNWRAP: i32 = 0x40;
/// The record is an inner batch: one record that counts as several messages.
pub const INNER_BATCH: i32 = 0x80;

/// The transaction bits of `sys_flag`.
pub const fn transaction_type(sys_flag: i32) -> i32 {
    sys_flag & TRANSACTION_MASK
}

/// `sys_flag` with its transaction bits replaced by `transaction_type`.
pub const fn with_transaction_type(sys_flag: i32, transaction_type: i32) -> i32 {
    (sys_flag & !TRANSACTION_MASK) | (transaction_type & TRANSACTION_MASK)
}

/// Whether a record with `sys_flag` gets a queue offset and a consume-queue unit.
///
/// Prepared and rolled-back records get neither: consumers must not see them.
pub const fn has_queue_offset(sys_flag: i32) -> bool {
    let kind = transaction_type(sys_flag);
    kind != TRANSACTION_PREPARED && kind != TRANSACTION_ROLLBACK
}
