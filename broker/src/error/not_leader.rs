//! Another broker leads a logical queue: the words of the reference, which has others for two requests.

use super::RequestError;

impl RequestError {
    /// What a pull is told.
    pub(crate) fn told_to_a_pull(self) -> Self {
        match self {
            Self::NotLeader { topic, queue_id, broker } => {
                Self::NotLeaderToPull { topic, queue_id, broker }
            }
            other => other,
        }
    }

    /// What is told to whoever asks for the oldest offset.
    pub(crate) fn told_of_min(self) -> Self {
        match self {
            Self::NotLeader { topic, queue_id, broker } => {
                Self::NotLeaderOfMin { topic, queue_id, broker }
            }
            other => other,
        }
    }
}
