//! How much may wait for threads that answer later.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::RequestError;

/// Requests that wait for a thread, or are with one.
#[derive(Debug)]
pub(crate) struct Waiting {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    max_requests: usize,
    max_bytes: usize,
}

/// The place of one of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: &'static Waiting,
    bytes: usize,
}

impl Waiting {
    pub(crate) const fn new(max_requests: usize, max_bytes: usize) -> Self {
        let (requests, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { requests, bytes, max_requests, max_bytes }
    }

    /// Takes a place for a request of which `bytes` are kept.
    ///
    /// # Errors
    /// When too many wait already.
    pub(crate) fn enter(&'static self, bytes: usize) -> Result<Place, RequestError> {
        // Leaves again if that was one too many.
        let place = Place { waiting: self, bytes };
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        match requests >= self.max_requests || before >= self.max_bytes {
            true => Err(RequestError::Overload),
            false => Ok(place),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.requests.fetch_sub(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::code::ResponseCode;

    use super::*;

    #[test]
    fn who_is_too_many_is_told_that_the_broker_is_busy_until_others_are_done() {
        static WAITING: Waiting = Waiting::new(2, 100);
        let first = WAITING.enter(60).unwrap();
        let second = WAITING.enter(39).unwrap();
        let error = WAITING.enter(0).unwrap_err();
        assert_eq!(error.response_code(), ResponseCode::SYSTEM_BUSY);
        assert_eq!(error.to_string(), "[OVERLOAD]system busy, start flow control for a while");
        drop(first);
        let large = WAITING.enter(1_000).unwrap();
        drop(second);
        assert!(WAITING.enter(0).is_err(), "too many bytes");
        drop(large);
        assert!(WAITING.enter(0).is_ok());
    }
}
