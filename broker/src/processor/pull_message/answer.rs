//! What a pull is answered with.

use oxmq_protocol::body::MASTER_ID;
use oxmq_protocol::code::ResponseCode;
use oxmq_remoting::Reply;
use oxmq_store::{GetMessageResult, GetMessageStatus};

use crate::error::RequestError;
use crate::pull_hold::{HeldPull, PullRequest};
use crate::static_topic::{Pulled, Seen};

pub(super) fn refuse(error: &RequestError, reply: Reply) {
    reply.write(error.response_code(), Some(&error.to_string()), |mut writer| {
        if let Some(forbidden_type) = error.forbidden_type() {
            writer.number("forbiddenType", forbidden_type);
        }
        writer.finish(&[]);
    });
}

/// Too many pulls wait already: this one hears at once that there is nothing.
pub(super) fn refuse_held(held: HeldPull) {
    let HeldPull { reply, request, .. } = held;
    let offset = request.part.map_or(request.offset, |part| part.logic_offset);
    let (code, remark) = (ResponseCode::PULL_NOT_FOUND, "too many pulls are waiting");
    tell_to_go_on(reply, code, remark, offset);
}

/// Answers without a message; the client goes on at the offset that it has asked for.
pub(super) fn tell_to_go_on(reply: Reply, code: ResponseCode, remark: &str, offset: i64) {
    reply.write(code, Some(remark), |mut writer| {
        writer.number("maxOffset", offset);
        writer.number("minOffset", 0);
        writer.number("nextBeginOffset", offset);
        writer.number("suggestWhichBrokerId", MASTER_ID);
        writer.finish(&[]);
    });
}

pub(super) fn is_empty(pull: &PullRequest, result: &GetMessageResult) -> bool {
    pulled(pull, result).code == ResponseCode::PULL_NOT_FOUND
}

/// What a look into the store means to who pulls.
fn pulled(pull: &PullRequest, result: &GetMessageResult) -> Pulled {
    let seen = Seen {
        code: response_code(result, pull.offset),
        next_begin_offset: result.next_begin_offset,
        min_offset: result.min_offset,
        max_offset: result.max_offset,
        is_reset: result.status == GetMessageStatus::OffsetReset,
    };
    match &pull.part {
        Some(part) => part.queue.pulled(&part.item, pull.offset, seen),
        None => seen.into(),
    }
}

pub(super) fn respond(pull: &PullRequest, result: &GetMessageResult, records: &[u8], reply: Reply) {
    let pulled = pulled(pull, result);
    reply.write(pulled.code, Some(result.status.name()), |mut writer| {
        writer.number("groupSysFlag", pull.group_sys_flag.into());
        writer.number("maxOffset", pulled.max_offset);
        writer.number("minOffset", pulled.min_offset);
        writer.number("nextBeginOffset", pulled.next_begin_offset);
        if let Some(delta) = pulled.offset_delta {
            writer.number("offsetDelta", delta);
        }
        let (usual, slow) = pull.suggested_brokers;
        let suggested = if result.suggest_slave { slow } else { usual };
        writer.number("suggestWhichBrokerId", suggested);
        writer.number("topicSysFlag", pull.topic_sys_flag.into());
        writer.finish(if pulled.code == ResponseCode::SUCCESS { records } else { &[] });
    });
}

/// The answer's code; an empty queue asked from 0 is merely empty, from elsewhere it has moved.
pub(super) fn response_code(result: &GetMessageResult, offset: i64) -> ResponseCode {
    use GetMessageStatus as Status;
    match result.status {
        Status::Found => ResponseCode::SUCCESS,
        Status::MessageWasRemoving | Status::NoMatchedMessage => {
            ResponseCode::PULL_RETRY_IMMEDIATELY
        }
        Status::NoMatchedLogicQueue | Status::NoMessageInQueue if offset == 0 => {
            ResponseCode::PULL_NOT_FOUND
        }
        Status::OffsetFoundNull | Status::OffsetOverflowOne => ResponseCode::PULL_NOT_FOUND,
        Status::NoMatchedLogicQueue
        | Status::NoMessageInQueue
        | Status::OffsetOverflowBadly
        | Status::OffsetTooSmall
        | Status::OffsetReset => ResponseCode::PULL_OFFSET_MOVED,
    }
}
