//! Key-value settings.

use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::{
    DeleteKVConfigRequestHeader, GetKVConfigRequestHeader, GetKVConfigResponseHeader,
    GetKVListByNamespaceRequestHeader, Header as _, HeaderError, PutKVConfigRequestHeader,
};

use super::{Answer, success, success_with};
use crate::core::NameServer;
use crate::error::RequestError;

impl NameServer {
    pub(crate) fn put_kv_config(&self, request: &RemotingCommand) -> Answer {
        let header =
            PutKVConfigRequestHeader::decode(&request.ext_fields).map_err(|error| match error {
                HeaderError::Missing("namespace" | "key") => RequestError::NoNamespaceOrKey,
                error => error.into(),
            })?;
        self.kv_config.put(&header.namespace, &header.key, &header.value)?;
        Ok(success())
    }

    pub(crate) fn get_kv_config(&self, request: &RemotingCommand) -> Answer {
        let GetKVConfigRequestHeader { namespace, key } =
            GetKVConfigRequestHeader::decode(&request.ext_fields).map_err(RequestError::NoName)?;
        match self.kv_config.get(&namespace, &key) {
            value @ Some(_) => Ok(success().with_header(&GetKVConfigResponseHeader { value })),
            None => Err(RequestError::NoKey { namespace, key }),
        }
    }

    pub(crate) fn delete_kv_config(&self, request: &RemotingCommand) -> Answer {
        let header = DeleteKVConfigRequestHeader::decode(&request.ext_fields)?;
        self.kv_config.delete(&header.namespace, &header.key)?;
        Ok(success())
    }

    pub(crate) fn get_kv_list(&self, request: &RemotingCommand) -> Answer {
        let header = GetKVListByNamespaceRequestHeader::decode(&request.ext_fields)
            .map_err(RequestError::NoName)?;
        match self.kv_config.list(&header.namespace) {
            Some(table) => success_with(&table),
            None => Err(RequestError::NoNamespace(header.namespace)),
        }
    }
}
