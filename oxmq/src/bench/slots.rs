//! The requests in flight on one connection.

use super::clock::Nanos;
use super::payload::MAX_SEQUENCE;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    sent_at: Nanos,
    generation: u32,
    busy: bool,
}

/// A fixed number of requests in flight. Each gets a sequence number that no other request of the
/// connection has and that leads back to its slot, so that answers may come in any order.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    pub(super) fn new(width: u32) -> Self {
        Self { slots: vec![Slot::default(); width as usize], free: (0..width).rev().collect() }
    }

    /// Takes a free slot; `None` when all are in flight or the numbers are used up.
    pub(super) fn take(&mut self, now: Nanos) -> Option<u32> {
        let index = *self.free.last()?;
        let width = self.slots.len() as u32;
        let slot = self.slots.get_mut(index as usize)?;
        let sequence = slot.generation.checked_mul(width)?.checked_add(index)?;
        if sequence > MAX_SEQUENCE {
            return None;
        }
        self.free.pop();
        *slot = Slot { sent_at: now, busy: true, ..*slot };
        Some(sequence)
    }

    /// Frees the slot of an answered request and returns when that was sent; `None` when no such
    /// request is in flight.
    pub(super) fn release(&mut self, sequence: u32) -> Option<Nanos> {
        let width = self.slots.len() as u32;
        let slot = self.slots.get_mut((sequence % width) as usize)?;
        if !slot.busy || slot.generation != sequence / width {
            return None;
        }
        slot.busy = false;
        slot.generation += 1;
        let sent_at = slot.sent_at;
        self.free.push(sequence % width);
        Some(sent_at)
    }

    /// Tells whether another request may leave.
    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Requests in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_any_order_find_their_request_once() {
        let mut slots = Slots::new(3);
        let taken: Vec<_> = (10..13).filter_map(|now| slots.take(now)).collect();
        assert_eq!((taken.as_slice(), slots.take(13)), (&[0, 1, 2][..], None));
        assert_eq!(slots.release(1), Some(11));
        assert_eq!(slots.release(1), None);
        assert_eq!(slots.take(20), Some(4));
        assert_eq!(slots.release(1), None);
        assert_eq!(
            (slots.release(4), slots.release(0), slots.in_flight()),
            (Some(20), Some(10), 1)
        );
    }

    #[test]
    fn numbers_that_would_not_fit_an_opaque_are_not_given_out() {
        let mut slots = Slots::new(1);
        slots.slots[0].generation = MAX_SEQUENCE;
        assert_eq!(slots.take(0), Some(MAX_SEQUENCE));
        assert!(slots.release(MAX_SEQUENCE).is_some());
        assert_eq!(slots.take(0), None);
    }
}
