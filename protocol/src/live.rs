//! Settings that change while they are read.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::config::Config;
use crate::sync::lock;

/// Changes that one value takes, as each of its versions is kept for those who still read it.
pub(crate) const MAX_LIVE_CHANGES: usize = 1_000;

/// A value that is replaced now and then and read all the time.
///
/// Whoever reads it pays one atomic load. Every version is kept until the whole is dropped, so a reader
/// may hold on to what it reads; that is why there is a limit on how often the value can be replaced.
#[derive(Debug)]
pub struct Live<T> {
    first: T,
    later: OnceLock<Box<[OnceLock<Box<T>>]>>,
    /// 0 is `first`, and each number above it the entry before it in `later`.
    current: AtomicUsize,
    replacing: Mutex<()>,
}

/// The value was replaced [`MAX_LIVE_CHANGES`] times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "settings changed {MAX_LIVE_CHANGES} times since the start: they change again after the next one"
)]
pub struct TooManyChanges;

impl<T> Live<T> {
    /// Holds `value` until it is replaced.
    pub fn new(value: T) -> Self {
        Self {
            first: value,
            later: OnceLock::new(),
            current: AtomicUsize::new(0),
            replacing: Mutex::default(),
        }
    }

    /// Lets everyone read `value` from now on.
    ///
    /// # Errors
    /// When it was replaced too often.
    pub fn replace(&self, value: T) -> Result<(), TooManyChanges> {
        let _replacing = lock(&self.replacing);
        let next = self.current.load(Ordering::Relaxed);
        let later =
            self.later.get_or_init(|| (0..MAX_LIVE_CHANGES).map(|_| OnceLock::new()).collect());
        later.get(next).ok_or(TooManyChanges)?.set(Box::new(value)).map_err(|_| TooManyChanges)?;
        self.current.store(next + 1, Ordering::Release);
        Ok(())
    }

    fn version(&self, number: usize) -> Option<&T> {
        self.later.get()?.get(number.checked_sub(1)?)?.get().map(Box::as_ref)
    }
}

impl<T> Deref for Live<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self.current.load(Ordering::Acquire) {
            0 => &self.first,
            number => self.version(number).unwrap_or(&self.first),
        }
    }
}

impl<T> DerefMut for Live<T> {
    fn deref_mut(&mut self) -> &mut T {
        let number = *self.current.get_mut();
        let later = number.checked_sub(1).and_then(|at| self.later.get_mut()?.get_mut(at));
        later.and_then(OnceLock::get_mut).map_or(&mut self.first, Box::as_mut)
    }
}

impl<T: Clone> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self::new(T::clone(self))
    }
}

impl<T: Default> Default for Live<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Live<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Config> Config for Live<T> {
    fn keys(&self) -> &'static [&'static str] {
        T::keys(self)
    }

    fn set(&mut self, key: &str, text: &str) -> Option<Result<(), &'static str>> {
        T::set(self, key, text)
    }

    fn get(&self, key: &str) -> Option<String> {
        T::get(self, key)
    }

    fn expected(&self, key: &str) -> Option<&'static str> {
        T::expected(self, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_was_replaced_last_and_keep_what_they_read() {
        let mut live = Live::new(1);
        *live = 2;
        let before = &*live;
        live.replace(3).unwrap();
        assert_eq!((*before, *live), (2, 3));
        *live = 4;
        assert_eq!(*live.clone(), 4);
    }

    #[test]
    fn changes_beyond_the_limit_are_refused_and_the_last_one_stays() {
        let live = Live::new(0);
        for change in 1..=MAX_LIVE_CHANGES {
            live.replace(change).unwrap();
        }
        assert_eq!(live.replace(0), Err(TooManyChanges));
        assert_eq!(*live, MAX_LIVE_CHANGES);
    }
}
