//! What a producer is told of a message that was put.
//!
//! Reference: `SendMessageProcessor.handlePutMessageResult` (broker), 5.5.0.

use oxmq_protocol::code::ResponseCode;
use oxmq_store::{PutMessageStatus as Status, StoreConfig};

/// The code of the answer. The four of stored messages come with its id and offset.
pub(crate) const fn response_code(status: Status) -> ResponseCode {
    match status {
        Status::PutOk => ResponseCode::SUCCESS,
        Status::FlushDiskTimeout => ResponseCode::FLUSH_DISK_TIMEOUT,
        Status::FlushSlaveTimeout => ResponseCode::FLUSH_SLAVE_TIMEOUT,
        Status::SlaveNotAvailable => ResponseCode::SLAVE_NOT_AVAILABLE,
        Status::ServiceNotAvailable => ResponseCode::SERVICE_NOT_AVAILABLE,
        Status::MessageIllegal | Status::PropertiesSizeExceeded | Status::WheelTimerMsgIllegal => {
            ResponseCode::MESSAGE_ILLEGAL
        }
        Status::OsPageCacheBusy => ResponseCode::SYSTEM_BUSY,
        Status::CreateMappedFileFailed
        | Status::UnknownError
        | Status::InSyncReplicasNotEnough
        | Status::PutToRemoteBrokerFail
        | Status::WheelTimerFlowControl
        | Status::WheelTimerNotEnable => ResponseCode::SYSTEM_ERROR,
        Status::LmqConsumeQueueNumExceeded => ResponseCode::LMQ_QUOTA_EXCEEDED,
    }
}

/// The remark of a refusal; `refusal` is why the store takes no message at all, if it does not.
pub(crate) fn remark(status: Status, config: &StoreConfig, refusal: Option<&str>) -> String {
    let max_message_size = config.max_message_size;
    match status {
        Status::PutOk
        | Status::FlushDiskTimeout
        | Status::FlushSlaveTimeout
        | Status::SlaveNotAvailable => String::new(),
        Status::InSyncReplicasNotEnough => "in-sync replicas not enough".to_owned(),
        Status::CreateMappedFileFailed => {
            "create mapped file failed, server is busy or broken.".to_owned()
        }
        Status::MessageIllegal | Status::PropertiesSizeExceeded => format!(
            "the message is illegal, maybe msg body or properties length not matched. \
             msg body length limit {max_message_size}B, msg properties length limit 32KB."
        ),
        Status::ServiceNotAvailable => {
            let cause = refusal.unwrap_or("the disk has no room for this message");
            format!(
                "service not available now. It may be caused by one of the following reasons: \
                 the broker's disk is full, messages are put to the slave, message store has been \
                 shut down, etc. Here: {cause}."
            )
        }
        Status::OsPageCacheBusy => {
            "[PC_SYNCHRONIZED]broker busy, start flow control for a while".to_owned()
        }
        Status::WheelTimerMsgIllegal => format!(
            "timer message illegal, the delay time should not be bigger than the max delay {}ms; \
             or if set del msg, the delay time should be bigger than the current time",
            i64::from(config.timer_max_delay_sec) * 1_000
        ),
        Status::WheelTimerFlowControl => {
            let most = i64::from(config.timer_congest_num_each_slot);
            let limit = most * 2;
            format!(
                "timer message is under flow control, max num limit is {limit} or the current \
                 value is greater than {most} and less than {limit}, trigger random flow control"
            )
        }
        Status::WheelTimerNotEnable => {
            "accurate timer message is not enabled, timerWheelEnable is false".to_owned()
        }
        Status::LmqConsumeQueueNumExceeded => {
            "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]lmq consume queue num exceeded.".to_owned()
        }
        Status::UnknownError | Status::PutToRemoteBrokerFail => "UNKNOWN_ERROR".to_owned(),
    }
}

/// The code that a producer gets when its committed message was not stored.
///
/// Reference: `EndTransactionProcessor.sendFinalMessage` (broker), 5.5.0.
pub(crate) const fn commit_code(status: Status) -> ResponseCode {
    match status {
        Status::OsPageCacheBusy => ResponseCode::SYSTEM_ERROR,
        other => response_code(other),
    }
}

/// The remark that goes with it.
pub(crate) fn commit_remark(status: Status, config: &StoreConfig) -> String {
    let max_message_size = config.max_message_size;
    match status {
        Status::CreateMappedFileFailed => "Create mapped file failed.".to_owned(),
        Status::MessageIllegal | Status::PropertiesSizeExceeded => format!(
            "The message is illegal, maybe msg body or properties length not matched. \
             msg body length limit {max_message_size}B, msg properties length limit 32KB."
        ),
        Status::ServiceNotAvailable => "Service not available now.".to_owned(),
        Status::OsPageCacheBusy => "OS page cache busy, please try another machine".to_owned(),
        Status::PutToRemoteBrokerFail => "put to remote broker fail".to_owned(),
        other => remark(other, config, None),
    }
}

#[cfg(test)]
mod tests {
    use oxmq_store::Refusal;

    use super::*;

    #[test]
    fn every_reason_of_a_refusal_is_told_apart() {
        let causes = [
            Some(Refusal::Closed),
            Some(Refusal::FlushFailed("input/output error".to_owned())),
            Some(Refusal::QueuesUnwritable),
            Some(Refusal::DiskFull(95)),
            None,
        ];
        let remarks = causes.map(|cause| {
            let cause = cause.map(|cause| cause.to_string());
            remark(Status::ServiceNotAvailable, &StoreConfig::default(), cause.as_deref())
        });
        // What clients match on, and behind it what it is.
        assert!(remarks.iter().all(|remark| remark.starts_with("service not available now.")));
        let ends = remarks.each_ref().map(|remark| remark.split("Here: ").nth(1).unwrap());
        assert_eq!(
            ends,
            [
                "message store has been shut down.",
                "a flush failed: input/output error.",
                "consume queues cannot be written.",
                "the disk is 95 % full.",
                "the disk has no room for this message.",
            ]
        );
    }
}
