//! One connection handed from read to read of a query, for sources whose snapshot cannot be shared.
//!
//! Owns: whose turn it is, and whether the snapshot still stands. Never: opens or ends a connection.
//!
//! A read takes a turn, opens the connection if it is the first, runs, and keeps the connection for the next turn.
//! While a read waits for its turn, the read in flight buffers (`outlet`), so that nobody waits for a consumer.

use std::sync::Arc;

use caliber_connector_spi::{ConnectorError, ErrorClass};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::outlet::Flow;

/// The connection of one query.
pub struct Serial<C> {
    source_name: String,
    flow: Arc<Flow>,
    slot: Arc<Mutex<Slot<C>>>,
}

enum Slot<C> {
    /// No read has begun a snapshot.
    Fresh,
    /// The snapshot stands, and nobody reads.
    Ready(C),
    /// A snapshot was begun, and its connection is in use or gone.
    Taken,
}

/// The right to use the connection. Dropped after `begun` without `keep`, the snapshot is lost and every later
/// read of the query fails, since it would see another state of the source.
pub struct Turn<C> {
    slot: OwnedMutexGuard<Slot<C>>,
}

impl<C> Serial<C> {
    /// No connection yet.
    pub fn new(source_name: &str, flow: Arc<Flow>) -> Self {
        Self {
            source_name: source_name.to_owned(),
            flow,
            slot: Arc::new(Mutex::new(Slot::Fresh)),
        }
    }

    /// Waits for the read in flight, if any, to have left the source; not for it to be consumed. Comes with the
    /// connection, or with `None` if the caller has to open it.
    pub async fn turn(&self) -> Result<(Turn<C>, Option<C>), ConnectorError> {
        let waiting = self.flow.wait_for_connection();
        let mut slot = self.slot.clone().lock_owned().await;
        drop(waiting);
        match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Fresh => {
                *slot = Slot::Fresh;
                Ok((Turn { slot }, None))
            }
            Slot::Ready(connection) => Ok((Turn { slot }, Some(connection))),
            Slot::Taken => Err(ConnectorError::new(
                &self.source_name,
                ErrorClass::Unavailable,
                "an earlier read of this query lost the connection, and with it the snapshot",
            )),
        }
    }
}

impl<C> Turn<C> {
    /// From here on the snapshot exists on the caller's connection.
    pub fn begun(&mut self) {
        *self.slot = Slot::Taken;
    }

    /// Ends the turn and leaves the connection, with its snapshot, to the next.
    pub fn keep(mut self, connection: C) {
        *self.slot = Slot::Ready(connection);
    }
}
