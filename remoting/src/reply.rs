//! The answer that is owed to one request.

use std::borrow::Cow;
use std::sync::Arc;

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, CommandWriter, RESPONSE_FLAG, RemotingCommand};
use oxmq_protocol::frame::HeaderForm;
use oxmq_protocol::shorten;

use crate::Connection;

/// The answer owed to one request: it can be kept, moved to another thread, and given once.
///
/// Dropping it unanswered is a bug, as the peer would wait for nothing; a request that has no
/// answer says so with [`Reply::abandon`].
#[derive(Debug)]
pub struct Reply {
    connection: Arc<Connection>,
    /// What is answered.
    code: RequestCode,
    opaque: i32,
    form: HeaderForm,
    oneway: bool,
    more_follow: bool,
    answered: bool,
}

impl Reply {
    /// `more_follow` as [`Self::more_follow`] tells it.
    pub(crate) fn new(
        connection: &Arc<Connection>,
        request: &CommandView<'_>,
        more_follow: bool,
    ) -> Self {
        Self {
            connection: Arc::clone(connection),
            code: request.request_code(),
            opaque: request.opaque,
            form: request.form,
            oneway: request.is_oneway(),
            more_follow,
            answered: false,
        }
    }

    /// The connection that the answer goes to.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Tells whether the sender wants no answer; giving one then does nothing.
    pub fn is_oneway(&self) -> bool {
        self.oneway
    }

    /// Tells whether one read has brought more behind the request, so that it pays to keep some work for all of it.
    pub fn more_follow(&self) -> bool {
        self.more_follow
    }

    /// Answers with a whole command; opaque, response flag and header form are filled in.
    pub fn send(mut self, mut response: RemotingCommand) {
        self.answered = true;
        if self.oneway {
            return;
        }
        response.opaque = self.opaque;
        response.flag |= RESPONSE_FLAG;
        response.form = self.form;
        response.remark = response.remark.map(shown);
        self.connection.write(|out| self.counted(out, |out| response.encode(out)));
    }

    /// Answers straight into the connection's output: `write` adds the fields and the body.
    pub fn write(
        mut self,
        code: ResponseCode,
        remark: Option<&str>,
        write: impl FnOnce(CommandWriter<'_>),
    ) {
        self.answered = true;
        if !self.oneway {
            let remark = remark.map(shorten);
            self.connection.write(|out| {
                self.counted(out, |out| {
                    let remark = remark.as_deref();
                    write(CommandWriter::response(out, self.form, code, self.opaque, remark));
                });
            });
        }
    }

    fn counted(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let before = out.len();
        write(out);
        if let Some(counters) = self.connection.counters() {
            counters.answer(self.code, out.len() - before);
        }
    }

    /// Answers with a code and a remark only.
    pub fn fail(self, code: ResponseCode, remark: &str) {
        self.write(code, Some(remark), |writer| writer.finish(&[]));
    }

    /// Leaves a request that has no answer.
    pub fn abandon(mut self) {
        self.answered = true;
    }
}

/// A remark as it is sent: what a peer wrote comes back to it shortened.
fn shown(remark: String) -> String {
    match shorten(&remark) {
        Cow::Borrowed(_) => remark,
        Cow::Owned(short) => short,
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        debug_assert!(
            self.answered || self.oneway || self.connection.is_closed() || std::thread::panicking(),
            "reply dropped unanswered"
        );
    }
}
