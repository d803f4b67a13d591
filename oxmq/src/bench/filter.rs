//! What `drain` asks for: everything, or one message in so many, which the broker has to find.
//!
//! The subscription is that of a heartbeat, as with the official consumers, so that it is read once and not
//! with each pull.

use clap::ValueEnum;
use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::header::PullMessageRequestHeader;
use oxmq_protocol::message::properties::property_str;
use serde_json::json;

use super::control::Control;
use super::error::BenchError;

/// Tag of most messages.
pub(super) const COMMON_TAG: &str = "TagA";
/// Tag of those that a filter finds, of the same length.
pub(super) const RARE_TAG: &str = "TagB";

/// Any number, the same in the heartbeat and in the pulls.
const VERSION: i64 = 1;

/// How messages are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Filter {
    /// All of them.
    None,
    /// By the hash of their tag, which their queue holds.
    Tag,
    /// By an SQL92 expression that wants a tag; the broker has to allow it.
    Sql,
    /// By an SQL92 expression of which the hash of a tag tells nothing, so that every record has to be
    /// looked at.
    SqlProperties,
}

impl Filter {
    /// Whether a broker has to look for messages.
    pub(super) fn chooses(self) -> bool {
        self != Self::None
    }

    /// Who asks. Each has a group of its own, which a broker knows by one subscription.
    pub(super) fn group(self) -> &'static str {
        match self {
            Self::None => "oxmq-bench-drain",
            Self::Tag => "oxmq-bench-drain-tag",
            Self::Sql => "oxmq-bench-drain-sql",
            Self::SqlProperties => "oxmq-bench-drain-sql-properties",
        }
    }

    /// Joins the group on this connection, with its subscription.
    pub(super) fn subscribe(self, control: &mut Control, topic: &str) -> Result<(), BenchError> {
        let (kind, expression, tags, codes) = match self {
            Self::None => return Ok(()),
            Self::Tag => ("TAG", RARE_TAG.to_owned(), vec![RARE_TAG], vec![hash(RARE_TAG)]),
            Self::Sql => ("SQL92", format!("TAGS = '{RARE_TAG}'"), vec![], vec![]),
            Self::SqlProperties => ("SQL92", format!("TAGS CONTAINS '{RARE_TAG}'"), vec![], vec![]),
        };
        let body = json!({
            "clientID": "oxmq-bench", "producerDataSet": [],
            "consumerDataSet": [{
                "groupName": self.group(), "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
                "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "unitMode": false,
                "subscriptionDataSet": [{
                    "topic": topic, "subString": expression, "tagsSet": tags, "codeSet": codes,
                    "subVersion": VERSION, "expressionType": kind, "classFilterMode": false,
                }],
            }],
        });
        let request = RemotingCommand::request(RequestCode::HEART_BEAT);
        control.demand("join the group", request.with_body(body.to_string().into_bytes())).map(drop)
    }

    /// Has a pull go by the subscription of the heartbeat.
    pub(super) fn apply(self, header: &mut PullMessageRequestHeader) {
        if self.chooses() {
            header.sys_flag = 0;
            header.subscription = None;
            header.expression_type = None;
            header.sub_version = VERSION;
        }
    }

    /// Whether a message should have been given.
    pub(super) fn gives(self, properties: &[u8]) -> bool {
        !self.chooses() || property_str(properties, "TAGS") == Some(RARE_TAG)
    }
}

/// Java's hash of a text, by which queues know tags.
fn hash(text: &str) -> i32 {
    text.bytes().fold(0, |hash: i32, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
}

#[test]
fn tags_have_the_hash_that_java_gives_them() {
    assert_eq!((hash("a"), hash("TagA"), hash("TagB")), (97, 2_598_919, 2_598_920));
}
