//! Transactions: the producer's decision, and the question for it.

header! {
    /// `END_TRANSACTION` (37): a producer decides about its half message.
    ///
    /// Reference: `EndTransactionRequestHeader` (remoting), 5.5.0.
    pub struct EndTransactionRequestHeader {
        topic: Option<String> = "topic",
        producer_group: String = "producerGroup",
        /// Offset of the half message in its queue.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// Where it lies in the commit log.
        commit_log_offset: i64 = "commitLogOffset",
        /// Transaction type of the decision, see [`sys_flag`](crate::message::sys_flag).
        commit_or_rollback: i32 = "commitOrRollback",
        /// The broker has asked before.
        from_transaction_check: bool = "fromTransactionCheck" | false,
        msg_id: Option<String> = "msgId",
        transaction_id: Option<String> = "transactionId",
    }

    /// `CHECK_TRANSACTION_STATE` (39): the broker asks a producer what to do with a half message.
    ///
    /// Reference: `CheckTransactionStateRequestHeader` (remoting), 5.5.0.
    pub struct CheckTransactionStateRequestHeader {
        topic: Option<String> = "topic",
        tran_state_table_offset: i64 = "tranStateTableOffset",
        commit_log_offset: i64 = "commitLogOffset",
        /// Unique key of the message.
        msg_id: Option<String> = "msgId",
        /// The same.
        transaction_id: Option<String> = "transactionId",
        offset_msg_id: Option<String> = "offsetMsgId",
        broker_name: Option<String> = "bname",
    }

    /// `RESUME_CHECK_HALF_MESSAGE` (323): a given-up half message is to be asked about again.
    ///
    /// Reference: `ResumeCheckHalfMessageRequestHeader` (remoting), 5.5.0.
    pub struct ResumeCheckHalfMessageRequestHeader {
        topic: Option<String> = "topic",
        /// Id that says where in the log the message lies.
        msg_id: Option<String> = "msgId",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::RequestCode;
    use crate::command::RemotingCommand;
    use crate::header::Header as _;

    #[test]
    fn headers_of_transactions_use_the_reference_field_names() {
        assert_eq!(
            EndTransactionRequestHeader::FIELDS,
            [
                "topic",
                "producerGroup",
                "tranStateTableOffset",
                "commitLogOffset",
                "commitOrRollback",
                "fromTransactionCheck",
                "msgId",
                "transactionId",
            ]
        );
        assert_eq!(
            CheckTransactionStateRequestHeader::FIELDS,
            [
                "topic",
                "tranStateTableOffset",
                "commitLogOffset",
                "msgId",
                "transactionId",
                "offsetMsgId",
                "bname",
            ]
        );
        assert_eq!(ResumeCheckHalfMessageRequestHeader::FIELDS, ["topic", "msgId"]);
    }

    #[test]
    fn decision_of_a_4x_client_reads_without_the_fields_of_newer_ones() {
        let mut request = RemotingCommand::request(RequestCode::END_TRANSACTION);
        for (name, value) in [
            ("producerGroup", "payments"),
            ("tranStateTableOffset", "7"),
            ("commitLogOffset", "4096"),
            ("commitOrRollback", "8"),
        ] {
            request.ext_fields.insert(name, value);
        }
        let header = EndTransactionRequestHeader::decode(&request.ext_fields).unwrap();
        assert_eq!((header.tran_state_table_offset, header.commit_log_offset), (7, 4096));
        assert!(!header.from_transaction_check);
    }
}
