//! Requests as they come from connections.

use std::sync::Arc;
use std::time::Instant;

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::CommandView;
use oxmq_remoting::{Connection, Reply, Service};

use crate::core::NameServer;
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
        match place(request.request_code()) {
            Place::Task => {
                reply.send(self.server.handle(&request, connection.id(), Instant::now()));
            }
            Place::Worker => {
                if let Err(reply) = self.worker.submit(request, reply) {
                    refuse(reply, &RequestError::Busy);
                }
            }
            Place::Departure => match NameServer::departure(&request) {
                Ok(departure) => {
                    let capacity = self.server.settings().un_register_broker_queue_capacity;
                    let is_queued = self.worker.depart(departure, capacity as usize);
                    let code =
                        if is_queued { ResponseCode::SUCCESS } else { ResponseCode::SYSTEM_ERROR };
                    reply.write(code, None, |writer| writer.finish(&[]));
                }
                Err(error) => refuse(reply, &error),
            },
        }
    }

    fn closed(&self, connection: &Arc<Connection>) {
        self.worker.closed(connection.id());
    }
}

fn refuse(reply: Reply, error: &RequestError) {
    reply.fail(error.response_code(), &error.to_string());
}
