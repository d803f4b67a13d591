//! Limits on what one peer can make a connection hold, each beside its reason.

use std::time::Duration;

/// Bytes read in one turn, so that one busy peer cannot starve the others of its worker.
pub(crate) const TURN_BYTES: usize = 256 * 1024;

/// Unsent output above which a connection is no longer read until it drains.
pub(crate) const HIGH_WATER_BYTES: usize = 4 * 1024 * 1024;

/// Unsent output of all connections together above which those that owe more than [`LOW_WATER_BYTES`] are no
/// longer read: many peers that do not read would else each hold [`HIGH_WATER_BYTES`].
pub(crate) const TOTAL_HIGH_WATER_BYTES: usize = 256 * 1024 * 1024;

/// What a connection may owe whatever the others do: more than a client has under way that reads.
pub(crate) const LOW_WATER_BYTES: usize = 64 * 1024;

/// Unsent output above which a connection is closed: held pulls and relays can add to it even while
/// it is not read.
pub(crate) const MAX_UNSENT_BYTES: usize = 64 * 1024 * 1024;

/// Answers that one connection may owe us at a time.
pub(crate) const MAX_PENDING_REQUESTS: usize = 16 * 1024;

/// Silence in both directions after which a connection is closed. The reference's
/// `serverChannelMaxIdleTimeSeconds` has the same default.
pub(crate) const MAX_IDLE: Duration = Duration::from_secs(120);

/// The silence that a setting in seconds allows: 0 is any.
///
/// Reference: `IdleStateHandler` (Netty), with the seconds of 5.5.0.
pub const fn max_idle_of(seconds: u64) -> Duration {
    match seconds {
        0 => Duration::MAX,
        seconds => Duration::from_secs(seconds),
    }
}

/// Connections of one server at a time.
pub(crate) const MAX_CONNECTIONS: usize = 100_000;

/// Of the descriptors that the process may have, connections leave this part, or [`DESCRIPTORS_LEFT`]: without any
/// there could be no next file of the log, and nothing could be saved.
pub(crate) const PART_OF_DESCRIPTORS_LEFT: u64 = 4;

/// Descriptors that connections leave of many: those of queue files, and one for each file of a log of 500 GiB.
pub(crate) const DESCRIPTORS_LEFT: u64 = 1024;

/// How often the requests are logged. The reference logs theirs as often.
pub(crate) const LOG_REQUESTS_EVERY: Duration = Duration::from_secs(60);

/// Codes that one such line names.
pub(crate) const MAX_LOGGED_CODES: usize = 16;

/// What a connection is owed at the end of a turn waits for the end of the round up to this size. More is better sent
/// while the processor's caches have it.
pub(crate) const KEPT_FOR_ROUND_BYTES: usize = 64 * 1024;

/// Buffers kept per thread for the next turns, all together; others are given back to the allocator.
pub(crate) const MAX_SPARE_BYTES: usize = 1024 * 1024;

/// Tasks after which a worker looks again which connections have something to read. New connections that end at
/// once are some 50 us of work each: behind 61 of them, the runtime's own number, the others wait for 3 ms.
pub(crate) const LOOK_AFTER_TASKS: u32 = 8;

/// Bytes read at a time from a connection that has not shown yet what it speaks. A peer that begins with
/// nonsense, megabytes of it perhaps, is not worth more.
pub(crate) const FIRST_READ_BYTES: usize = 4 * 1024;

/// Connections waiting to be accepted. The reference's `serverSocketBacklog` has the same default.
pub(crate) const BACKLOG: i32 = 1024;

/// Addresses that a client keeps in mind; of more, those without a connection are forgotten.
pub(crate) const MAX_CLIENT_ADDRESSES: usize = 4 * 1024;

/// How long an address that could not be reached is left alone; twice as long after each failure.
pub(crate) const FIRST_BACK_OFF: Duration = Duration::from_millis(100);

/// Longest time for it. Brokers register every 30 s, and the next round is to try again.
pub(crate) const MAX_BACK_OFF: Duration = Duration::from_secs(5);

/// How long a changed certificate may stay unnoticed.
pub(crate) const LOOK_AT_CERTIFICATE_EVERY: Duration = Duration::from_secs(1);

/// Requests of one read after which a peer that has its worker to itself gets their answers, where it would
/// else wait for the last one, and the worker then for the peer.
pub(crate) const ANSWER_EVERY: u32 = 16;

/// How long a worker stays awake after traffic. A peer on the same machine answers within it, even if its
/// processor had to be woken for our answer: in less, both would go on waking each other.
pub(crate) const SPIN: Duration = Duration::from_micros(50);

/// After how many turns on end that no other followed within [`SPIN`] a worker no longer stays awake.
pub(crate) const SPIN_IN_VAIN: u32 = 32;

/// One turn in so many is then followed by staying awake, in case that peers ask more often again.
pub(crate) const SPIN_ONCE_IN: u32 = 8;

/// How long a worker that always has something to read puts off what is done once for many requests: about
/// as long as a flush of the disk takes.
pub(crate) const LONGEST_ROUND: Duration = Duration::from_micros(150);

/// For how many rounds of one turn each a worker still counts as busy.
pub(crate) const BUSY_ROUNDS: u32 = 32;
