//! What the processor is told about bytes that are in none of its caches.
//!
//! Hints, which wait for nothing, least of all for the disk, and do not fault, whatever the address. Where there are
//! none in stable Rust, nothing is told.

/// Bytes that the processor fetches at a time.
pub(super) const LINE_BYTES: usize = 64;

/// Has the line fetched in which `bytes` begin.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn fetch_line(bytes: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint, which neither reads nor faults.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()) }
}

/// Has the line at `address` fetched to be overwritten.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn fetch_line_to_write(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
    // SAFETY: a hint, which neither reads, writes nor faults.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(address.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn fetch_line(_: &[u8]) {}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn fetch_line_to_write(_: *const u8) {}
