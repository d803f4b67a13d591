//! Answers to many requests that leave together, with one write for each connection.

use std::sync::Arc;

use crate::{Connection, Reply};

/// Keeps answers back until it is dropped.
#[derive(Debug, Default)]
pub struct Together {
    held: Vec<Arc<Connection>>,
}

impl Together {
    /// Has the answer that is given next leave with the others of its connection.
    pub fn add(&mut self, reply: &Reply) {
        let connection = reply.connection();
        if connection.hold() {
            self.held.push(Arc::clone(connection));
        }
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        for connection in &self.held {
            connection.release();
        }
    }
}
