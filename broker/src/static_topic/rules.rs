//! Which mappings make sense, and which can follow on another.
//!
//! Reference: `TopicQueueMappingUtils`, `TopicQueueMappingManager`, 5.5.0.

use oxmq_protocol::body::{LogicQueueMappingItem, TopicQueueMappingDetail};

/// A mapping that is refused, with the reference's words where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MappingError {
    /// A part begins, ends or counts below 0.
    #[error("The field is illegal, should not be negative")]
    Negative,
    /// A part before the last has no place in the logical queue.
    #[error("The non-latest item has negative logic offset")]
    NoPlace,
    /// Parts are not in the order of their generations.
    #[error("The gen dose not increase monotonically")]
    Order,
    /// A part ends before it begins.
    #[error("The endOffset is smaller than the start offset")]
    EndBeforeStart,
    /// Parts do not begin one after the other.
    #[error("The base logic offset dose not increase monotonically")]
    Begin,
    /// A part ends behind the beginning of the next.
    #[error("The max logic offset dose not increase monotonically")]
    Overlap,
    /// It is older than what is known.
    #[error("Can't accept data with small epoch {new} < {known}")]
    Epoch {
        /// Its epoch.
        new: i64,
        /// The epoch that is known.
        known: i64,
    },
    /// It is of another scope.
    #[error("Can't accept data with unmatched scope {new} != {known}")]
    Scope {
        /// Its scope.
        new: String,
        /// The scope that is known.
        known: String,
    },
    /// It lacks a queue and is not newer.
    #[error("Cannot accept equal epoch with null data")]
    QueueMissing,
    /// A queue has lost all its parts.
    #[error("The new item list is null or empty")]
    NoItems,
    /// It has another leader and is not newer.
    #[error("The new leader is different but epoch equal")]
    Leader,
    /// What a part was once is not what it is now.
    #[error("the item of gen {0} is not the one that is known")]
    Rewritten(i32),
    /// It is of another topic, another broker, or has too many queues.
    #[error("the mapping has the {what} {found}, not {expected}")]
    Other {
        /// What it has.
        what: &'static str,
        /// What that is.
        found: String,
        /// What it has to be.
        expected: String,
    },
}

/// Whether the parts of a queue follow each other.
pub(super) fn check_items(items: &[LogicQueueMappingItem]) -> Result<(), MappingError> {
    let mut next: Option<&LogicQueueMappingItem> = None;
    for item in items.iter().rev() {
        if item.start_offset < 0 || item.generation < 0 || item.queue_id < 0 {
            return Err(MappingError::Negative);
        }
        if let Some(next) = next {
            check_neighbours(item, next)?;
        }
        if item.end_offset != -1 && item.end_offset < item.start_offset {
            return Err(MappingError::EndBeforeStart);
        }
        next = Some(item);
    }
    Ok(())
}

fn check_neighbours(
    item: &LogicQueueMappingItem,
    next: &LogicQueueMappingItem,
) -> Result<(), MappingError> {
    if item.logic_offset < 0 {
        return Err(MappingError::NoPlace);
    }
    if item.generation >= next.generation {
        return Err(MappingError::Order);
    }
    if next.logic_offset != -1 {
        if item.logic_offset >= next.logic_offset {
            return Err(MappingError::Begin);
        }
        if item.settled_logic_offset() >= next.logic_offset {
            return Err(MappingError::Overlap);
        }
    }
    Ok(())
}

/// Adds what only `known` has to the mapping that is to follow it.
pub(super) fn follow(
    known: &TopicQueueMappingDetail,
    new: &mut TopicQueueMappingDetail,
    force: bool,
) -> Result<(), MappingError> {
    if !force {
        if new.epoch < known.epoch {
            return Err(MappingError::Epoch { new: new.epoch, known: known.epoch });
        }
        if new.scope != known.scope {
            let (new, known) = (new.scope.clone(), known.scope.clone());
            return Err(MappingError::Scope { new, known });
        }
    }
    let is_same_epoch = new.epoch == known.epoch;
    for (id, known_items) in &known.hosted_queues {
        match new.hosted_queues.get(id) {
            Some(_) if force => {}
            Some(items) => check_history(known_items, items, is_same_epoch)?,
            None if is_same_epoch && !force => return Err(MappingError::QueueMissing),
            None => {
                new.hosted_queues.insert(*id, known_items.clone());
            }
        }
    }
    Ok(())
}

/// What a part is does not change, but for where it ends; parts may be gone, and come.
fn check_history(
    known: &[LogicQueueMappingItem],
    new: &[LogicQueueMappingItem],
    is_same_epoch: bool,
) -> Result<(), MappingError> {
    let Some(known_leader) = known.last() else { return Ok(()) };
    let Some(leader) = new.last() else { return Err(MappingError::NoItems) };
    for was in known {
        let Some(is) = new.iter().find(|item| item.generation == was.generation) else { continue };
        let is_placed = was.logic_offset == -1 || is.logic_offset == was.logic_offset;
        if !is_placed || place(is) != place(was) {
            return Err(MappingError::Rewritten(was.generation));
        }
    }
    if is_same_epoch && place(leader) != place(known_leader) {
        return Err(MappingError::Leader);
    }
    Ok(())
}

/// Which part it is, and where.
fn place(item: &LogicQueueMappingItem) -> (i32, Option<&str>, i32, i64) {
    (item.generation, item.bname.as_deref(), item.queue_id, item.start_offset)
}
