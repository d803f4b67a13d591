//! Pulls from a part of a logical queue that another broker has.

use std::sync::Arc;

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_protocol::header::{
    Header as _, PullMessageResponseHeader, PullMessageView, pull_sys_flag,
};
use oxmq_remoting::Reply;

use super::PullMessage;
use super::answer::refuse;
use crate::error::RequestError;
use crate::processor::Answer;
use crate::pull_hold::PulledPart;
use crate::static_topic::{Pulled, Seen, passed_on};

impl PullMessage {
    /// Asks the part's broker and answers with what it answers. It must not wait for messages: none come to a
    /// part that is not the last. The task ends with the broker's time.
    pub(super) fn pull_elsewhere(
        self: &Arc<Self>,
        part: PulledPart,
        header: &PullMessageView<'_>,
        request: &CommandView<'_>,
        reply: Reply,
    ) {
        let name = part.item.bname.clone().unwrap_or_default();
        let place = part.place(header.max_msg_nums);
        let flag = header.sys_flag & !(pull_sys_flag::SUSPEND | pull_sys_flag::COMMIT_OFFSET);
        let mut pull = passed_on(RequestCode::PULL_MESSAGE, request, &name, place.queue_id);
        pull.ext_fields.insert("queueOffset", place.offset.to_string());
        pull.ext_fields.insert("maxMsgNums", place.max_messages.to_string());
        pull.ext_fields.insert("sysFlag", flag.to_string());
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let answer = this.static_topics.others.ask(&name, pull).await;
            match answer.and_then(|answer| in_logic_offsets(&part, place.offset, answer)) {
                Ok(answer) => reply.send(answer),
                Err(error) => refuse(&error, reply),
            }
        });
    }
}

/// The answer of the part's broker as the client understands it. A refusal is one to the client, too.
fn in_logic_offsets(part: &PulledPart, offset: i64, mut answer: RemotingCommand) -> Answer {
    let code = answer.response_code();
    let has_offsets = [
        ResponseCode::SUCCESS,
        ResponseCode::PULL_NOT_FOUND,
        ResponseCode::PULL_RETRY_IMMEDIATELY,
        ResponseCode::PULL_OFFSET_MOVED,
    ];
    if !has_offsets.contains(&code) {
        return Err(RequestError::UnknownAnswer(code.0));
    }
    let header = PullMessageResponseHeader::decode(&answer.ext_fields)?;
    let seen = Seen {
        code,
        next_begin_offset: header.next_begin_offset,
        min_offset: header.min_offset,
        max_offset: header.max_offset,
        is_reset: false,
    };
    let Pulled { code, next_begin_offset, min_offset, max_offset, offset_delta } =
        part.queue.pulled(&part.item, offset, seen);
    answer.code = code.0;
    let offsets = [
        ("nextBeginOffset", Some(next_begin_offset)),
        ("minOffset", Some(min_offset)),
        ("maxOffset", Some(max_offset)),
        ("offsetDelta", offset_delta),
    ];
    for (name, value) in offsets {
        if let Some(value) = value {
            answer.ext_fields.insert(name, value.to_string());
        }
    }
    Ok(answer)
}
