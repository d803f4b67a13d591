//! Requests as they come from connections.

use std::sync::Arc;
use std::time::Instant;

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::CommandView;
use oxmq_remoting::{Connection, Reply, Service};

use crate::core::{NameServer, Origin};
use crate::dispatch::{Place, place};
use crate::error::RequestError;
use crate::worker::Worker;

/// Answers queries where they are read and hands the rest to the worker.
pub(crate) struct NamesrvService {
    pub(crate) server: Arc<NameServer>,
    pub(crate) worker: Worker,
}

impl Service for NamesrvService {
    fn request(&self, connection: &Arc<Connection>, request: CommandView<'_>, reply: Reply) {
        let request = request.to_command();
        let code = request.request_code();
        match place(code) {
            Place::Task => {
                reply.send(self.server.handle(&request, origin(connection), Instant::now()));
            }
            Place::Worker | Place::Slow => {
                if let Err(reply) = self.worker.submit(request, reply) {
                    refuse(reply, code, &RequestError::Busy);
                }
            }
            Place::Departure => match NameServer::departure(&request) {
                Ok(departure) => {
                    let capacity = self.server.settings().un_register_broker_queue_capacity;
                    let is_queued = self.worker.depart(departure, capacity as usize);
                    let outcome =
                        if is_queued { ResponseCode::SUCCESS } else { ResponseCode::SYSTEM_ERROR };
                    reply.write(outcome, None, |writer| writer.finish(&[]));
                }
                Err(error) => refuse(reply, code, &error),
            },
        }
    }

    fn closed(&self, connection: &Arc<Connection>) {
        self.worker.closed(connection.id());
    }
}

/// Where the requests of a connection come from.
pub(crate) fn origin(connection: &Connection) -> Origin {
    Origin { connection: connection.id(), peer: connection.peer(), local: connection.local() }
}

fn refuse(reply: Reply, code: RequestCode, error: &RequestError) {
    error.log(code, reply.connection().peer());
    reply.fail(error.response_code(), &error.to_string());
}
