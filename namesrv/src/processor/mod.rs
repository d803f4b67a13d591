//! Answers to requests, one file per family. Pure: a request and the state in, a response out.

mod kv_config;
mod registration;
mod route;
mod settings;
mod topic_list;

#[cfg(test)]
mod tests;

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::fastjson::{self, Dialect};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::RequestError;

pub(crate) type Answer = Result<RemotingCommand, RequestError>;

fn success() -> RemotingCommand {
    RemotingCommand::response(ResponseCode::SUCCESS)
}

/// Only route answers know the strict dialect.
fn success_with<T: Serialize>(body: &T) -> Answer {
    let body = fastjson::to_vec(body, Dialect::Raw).map_err(RequestError::Answer)?;
    Ok(success().with_body(body))
}

fn read_body<T: DeserializeOwned>(
    request: &RemotingCommand,
    what: &'static str,
) -> Result<T, RequestError> {
    fastjson::from_slice(&request.body).map_err(|source| RequestError::Body { what, source })
}
