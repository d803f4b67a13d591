//! Which queues are whose.
//!
//! Reference: `AllocateMessageQueueAveragely`, `AllocateMessageQueueAveragelyByCircle` (client),
//! `QueryAssignmentProcessor.allocate4Pop` (broker), 5.5.0.

use oxmq_protocol::body::MessageQueue;

/// How queues are dealt out. The client knows five, the broker of the reference these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Neighbours to each.
    Average,
    /// One after the other.
    Circle,
}

impl Strategy {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Self::Average),
            "AVG_BY_CIRCLE" => Some(Self::Circle),
            _ => None,
        }
    }

    /// A member's queues, both lists in order; none for a stranger, and `None` for nobody or nothing.
    pub(super) fn share(
        self,
        client_id: &str,
        queues: &[MessageQueue],
        members: &[String],
    ) -> Option<Vec<MessageQueue>> {
        if client_id.is_empty() || queues.is_empty() || members.is_empty() {
            return None;
        }
        let Some(index) = members.iter().position(|member| member == client_id) else {
            return Some(Vec::new());
        };
        let (count, of) = (queues.len(), members.len());
        Some(match self {
            Self::Average => {
                // The first ones get one more when it does not come out even.
                let more = count % of;
                let (begin, end) = (index * (count / of) + index.min(more), index + 1);
                queues[begin..end * (count / of) + end.min(more)].to_vec()
            }
            Self::Circle => queues.iter().skip(index).step_by(of).cloned().collect(),
        })
    }
}

/// A member's queues when the broker hands out single messages: each shares with the next ones.
pub(super) fn pop(
    strategy: Strategy,
    client_id: &str,
    queues: &[MessageQueue],
    members: &[String],
    shared_with: i32,
) -> Option<Vec<MessageQueue>> {
    let shared_with = usize::try_from(shared_with).unwrap_or(0);
    if shared_with == 0 || shared_with + 1 >= members.len() {
        let any = |queue: &MessageQueue| MessageQueue { queue_id: -1, ..queue.clone() };
        return Some(queues.iter().map(any).collect());
    }
    if client_id.is_empty() || queues.is_empty() {
        return None;
    }
    let index = members.iter().position(|member| member == client_id);
    if members.len() > queues.len() {
        let own = index.map(|index| queues[index % queues.len()].clone());
        return Some(own.into_iter().collect());
    }
    let Some(index) = index else { return Some(Vec::new()) };
    let mut shared = Vec::new();
    for next in index..=index + shared_with {
        shared.extend(strategy.share(&members[next % members.len()], queues, members)?);
    }
    Some(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        (0..count).map(|queue_id| MessageQueue { queue_id, ..MessageQueue::default() }).collect()
    }

    fn members(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("c{index}")).collect()
    }

    fn ids(shared: Option<Vec<MessageQueue>>) -> Vec<i32> {
        shared.unwrap().iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn every_queue_has_one_owner() {
        for strategy in [Strategy::Average, Strategy::Circle] {
            for (queue_count, member_count) in [(8, 3), (3, 8), (1, 1), (16, 4), (7, 7)] {
                let (queues, members) = (queues(queue_count), members(member_count));
                let mut all: Vec<_> = members
                    .iter()
                    .flat_map(|member| ids(strategy.share(member, &queues, &members)))
                    .collect();
                all.sort_unstable();
                assert_eq!(all, (0..queue_count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_first_members_get_the_rest() {
        let share = |member: &str| ids(Strategy::Average.share(member, &queues(8), &members(3)));
        assert_eq!((share("c0"), share("c1")), (vec![0, 1, 2], vec![3, 4, 5]));
        assert_eq!(share("c2"), [6, 7]);
        let share = |member: &str| ids(Strategy::Circle.share(member, &queues(8), &members(3)));
        assert_eq!((share("c0"), share("c2")), (vec![0, 3, 6], vec![2, 5]));
        assert_eq!(Strategy::Average.share("", &queues(1), &members(1)), None);
        assert_eq!(Strategy::Average.share("c0", &[], &members(1)), None);
    }

    #[test]
    fn pop_shares_with_the_next_members() {
        let pop = |member: &str, queue_count, member_count, shared_with| {
            let (queues, members) = (queues(queue_count), members(member_count));
            ids(pop(Strategy::Average, member, &queues, &members, shared_with))
        };
        assert_eq!(pop("c0", 3, 3, -1), [-1, -1, -1]);
        assert_eq!(pop("c0", 3, 3, 2), [-1, -1, -1]);
        assert_eq!(pop("c2", 4, 4, 1), [2, 3]);
        assert_eq!(pop("c3", 4, 4, 1), [3, 0]);
        assert_eq!(pop("c5", 4, 8, 1), [1]);
        assert_eq!(pop("stranger", 4, 8, 1), Vec::<i32>::new());
    }
}
