//! Why a run ends early.

use std::io;

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::CommandError;
use oxmq_protocol::frame::FrameError;
use oxmq_protocol::header::HeaderError;
use oxmq_protocol::message::{BatchError, EncodeError, RecordError};

/// A run that cannot go on; nothing that it measured is reported.
#[derive(Debug, thiserror::Error)]
pub(super) enum BenchError {
    /// Flags that contradict each other or the machine.
    #[error("{0}")]
    Usage(String),
    /// A socket or a file of `/proc`.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The broker ended a connection.
    #[error("the broker closed a connection")]
    Closed,
    /// The broker refused what the run needs.
    #[error("{what} refused with {code}: {remark}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The broker's code.
        code: ResponseCode,
        /// The broker's words.
        remark: String,
    },
    /// An answer to nothing that was asked, or one without what it must have.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    /// Stored messages differ from what was sent.
    #[error("{0}")]
    Wrong(String),
    /// A frame that cannot be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A command that cannot be read.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A header that cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A record that cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record that cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A batch that cannot be written.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// Names what was done when it failed.
pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> BenchError {
    move |source| BenchError::Io { what, source }
}
