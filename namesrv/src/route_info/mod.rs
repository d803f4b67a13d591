//! The route table: which topics are where, and which brokers are alive.
//!
//! Queries take the table's lock shared for the time of one answer. Changes to the set of brokers
//! are made one at a time, and those that touch many topics let queries in between.
//!
//! Reference: `RouteInfoManager` (namesrv), 5.5.0.

mod lists;
mod nearest;
mod register;
mod route;
mod tables;
mod unregister;

use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::tables::Tables;
use crate::sync::{lock, read, write};

pub(crate) use self::lists::UnitFilter;
pub(crate) use self::register::{RegisterError, Registration};
pub(crate) use self::route::{RouteQuery, Zone};
pub(crate) use self::tables::BrokerAddress;
pub(crate) use self::unregister::{Departure, MinBrokerIdChange};

/// All routes of one name server.
#[derive(Debug, Default)]
pub(crate) struct RouteInfoManager {
    tables: RwLock<Tables>,
    /// Held through a registration or departure: no other one comes between its turns.
    membership: Mutex<()>,
}

impl RouteInfoManager {
    // A panic while the lock was held costs the request that panicked, not the server: the tables
    // are valid between any two statements.
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        read(&self.tables)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        write(&self.tables)
    }

    fn membership(&self) -> MutexGuard<'_, ()> {
        lock(&self.membership)
    }
}

/// Permission to write, a bit of `perm`.
const PERM_WRITE: i32 = 1 << 1;
/// Permission to read, a bit of `perm`.
const PERM_READ: i32 = 1 << 2;

#[cfg(test)]
mod tests;
