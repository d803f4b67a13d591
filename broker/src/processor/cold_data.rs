//! `UPDATE_COLD_DATA_FLOW_CTR_CONFIG` (2001), `REMOVE_COLD_DATA_FLOW_CTR_CONFIG` (2002),
//! `GET_COLD_DATA_FLOW_CTR_INFO` (2003) and `SET_COMMITLOG_READ_MODE` (2004).
//!
//! Reference: `AdminBrokerProcessor` (broker), 5.5.0.

use std::sync::Arc;
use std::time::Instant;

use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::ext_fields::Fields as _;
use oxmq_protocol::properties_file;
use tracing::warn;

use super::{Answer, success, success_with};
use crate::cold::ColdReads;
use crate::error::RequestError;

/// Sets and shows how much groups may read from disk.
#[derive(Debug)]
pub(crate) struct ColdData {
    reads: Arc<ColdReads>,
}

impl ColdData {
    pub(crate) fn new(reads: Arc<ColdReads>) -> Self {
        Self { reads }
    }

    /// Gives groups thresholds: a line `group=bytes` for each. What is no number is passed over, as
    /// in the reference.
    pub(crate) fn update(&self, request: &CommandView<'_>) -> Answer {
        let entries =
            properties_file::parse(request.body).map_err(|_| RequestError::ColdDataThresholds)?;
        for entry in entries {
            match entry.value.parse() {
                Ok(bytes) => self.reads.set_threshold(&entry.key, bytes),
                Err(_) => {
                    warn!(
                        group = entry.key,
                        value = entry.value,
                        "threshold is no number of bytes"
                    );
                }
            }
        }
        Ok(success())
    }

    /// Takes the threshold of a group back; the body is its name.
    pub(crate) fn remove(&self, request: &CommandView<'_>) -> RemotingCommand {
        self.reads.remove_threshold(&String::from_utf8_lossy(request.body));
        success()
    }

    /// Answers with thresholds and what was read.
    pub(crate) fn info(&self) -> Answer {
        success_with(&self.reads.info(Instant::now()))
    }

    /// Accepts how the system is to read the log ahead. It is always told not to.
    pub(crate) fn set_read_mode(&self, request: &CommandView<'_>) -> Answer {
        let mode = request.get("READ_AHEAD_MODE").and_then(|text| text.parse::<i32>().ok());
        match mode {
            Some(mode @ (0 | 1)) => {
                let remark = format!("set commitlog readahead mode success, mode: {mode}");
                Ok(success().with_remark(remark))
            }
            Some(_) => Err(RequestError::ReadModeValue),
            None => Err(RequestError::ReadMode),
        }
    }
}
