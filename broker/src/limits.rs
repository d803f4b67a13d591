//! Limits on what clients can make the broker hold, each beside its reason.

/// Pulls that wait at a time. Each holds about 200 bytes; 5 000 consumers of 64 queues are 320 000.
pub(crate) const MAX_HELD_PULLS: usize = 1_000_000;

/// Requests that wait for the threads of what may take long, as in the reference; more are refused.
pub(crate) const MAX_WAITING_REQUESTS: usize = 10_000;

/// Bytes of those: a message that is sent back has none, a list of topics may have millions.
pub(crate) const MAX_WAITING_BYTES: usize = 256 * 1024 * 1024;

/// Pulls and pops that wait for a thread that reads from disk, as in the reference; more are refused. Each
/// holds about 300 bytes.
pub(crate) const MAX_WAITING_DISK_READS: usize = 100_000;

/// Longest that a pull is held, ms, whatever it asks for: clients give up after 30 s by default and
/// ask for 15 to 20 s.
pub(crate) const MAX_SUSPEND_MS: i64 = 600_000;

/// Most messages in one answer, whatever the pull asks for.
pub(crate) const MAX_PULL_MESSAGES: i32 = 1024;

/// Most topics of one broker. The reference has no limit, and a peer can create topics by sending;
/// its largest deployments have some ten thousands.
pub(crate) const MAX_TOPICS: usize = 1_000_000;

/// Most consumer groups of one broker, for the same reason.
pub(crate) const MAX_GROUPS: usize = 1_000_000;

/// Most queues of one topic; more cannot be given an id in a route that clients read in time.
pub(crate) const MAX_QUEUES_PER_TOPIC: i32 = 1 << 16;

/// Most queues of one topic for which a group's offset is kept; a commit names any queue id.
pub(crate) const MAX_OFFSETS_PER_GROUP: usize = MAX_QUEUES_PER_TOPIC as usize;

/// Most groups that one heartbeat may name, as each of them may create a group and a topic.
pub(crate) const MAX_GROUPS_PER_HEARTBEAT: usize = 10_000;

/// Longest name of a client or group in a heartbeat, which is kept for each of its groups. Those of Java
/// clients have 255 bytes at most.
pub(crate) const MAX_CLIENT_NAME_BYTES: usize = 1024;

/// Bytes that the members of all consumer groups and what these subscribe to may take, estimated: 10 000
/// members and 1 000 000 subscriptions are some 400 MB.
pub(crate) const MAX_CONSUMER_BYTES: usize = 1024 * 1024 * 1024;

/// Producer groups that one connection may be in, of about 300 bytes each: heartbeats may name ever new
/// ones. Those of a proxy name the groups of all its clients.
pub(crate) const MAX_PRODUCER_GROUPS_PER_CONNECTION: usize = 100_000;

/// Most expressions that groups filter with. A heartbeat may bring many, and they outlive their group.
pub(crate) const MAX_FILTERS: usize = 100_000;

/// Most topics whose routes are kept; anyone can ask about any topic that some broker has.
pub(crate) const MAX_CACHED_ROUTES: usize = 10_000;

/// Most units of a queue in one answer; a tool shows a screenful.
pub(crate) const MAX_VIEWED_UNITS: i32 = 10_000;

/// Most queues that the members of all groups may hold; a request names any group and queue, whether it
/// exists or not.
pub(crate) const MAX_LOCKED_QUEUES: usize = 1 << 20;
/// Most topics that groups may not consume, for the same reason; each change of a group's writes all of its own.
pub(crate) const MAX_FORBIDDEN_TOPICS: usize = 100_000;

/// Name servers that a list or an HTTP server may name.
pub(crate) const MAX_NAME_SERVERS: usize = 64;

/// Bytes that the HTTP server may answer with when it is asked for the name servers.
pub(crate) const MAX_ADDRESS_ANSWER_BYTES: u64 = 64 * 1024;

/// Most groups with a threshold of reads from disk, or with such reads.
pub(crate) const MAX_COLD_GROUPS: usize = 10_000;

/// Most machines that are remembered as having connected of late.
pub(crate) const MAX_SEEN_HOSTS: usize = 100_000;

/// Most members of groups that broadcast whose offsets are kept; a pull may name any client.
pub(crate) const MAX_BROADCAST_MEMBERS: usize = 100_000;

/// Most queues that are remembered as not pulled from; each is a line in the log.
pub(crate) const MAX_UNPULLED_QUEUES: usize = 10_000;

/// Pops and notifications that wait, each, whatever `maxPopPollingSize` says.
pub(crate) const MAX_HELD_POPS: usize = 1_000_000;

/// Groups without a producer that a round of questions names in the log. A half message names any group.
pub(crate) const MAX_UNASKED_GROUPS: usize = 1_000;

/// Messages that topics with a window for equal ones remember, in all of them together, of about 300
/// bytes each. Beyond that the oldest are forgotten.
pub(crate) const MAX_DEDUP_MESSAGES: usize = 500_000;

/// Longest unique key that is remembered; those of clients have 32 bytes.
pub(crate) const MAX_DEDUP_KEY_BYTES: usize = 256;

/// Subscriptions of lite topics that there may be, whatever `maxLiteSubscriptionCount` says, of about 200
/// bytes each. The reference lets a client that names all of its lite topics at once have any number.
pub(crate) const MAX_LITE_SUBSCRIPTIONS: usize = 2_000_000;

/// Clients that subscribe lite topics; a proxy may name any.
pub(crate) const MAX_LITE_CLIENTS: usize = 1_000_000;

/// Most messages of one pop, as in the reference: a check point has a bit for each.
pub(crate) const MAX_POP_MESSAGES: i32 = 32;

/// Bytes of messages after which a pop looks at no further queue. The last message may go beyond
/// it, and the whole answer has to fit into a frame.
pub(crate) const MAX_POP_BYTES: usize = 4 * 1024 * 1024;

/// Most queues of the revive topic that are worked off.
pub(crate) const MAX_REVIVE_QUEUES: i32 = 128;

/// Most entries of one request that acknowledges many messages; the reference's proxy sends some ten.
pub(crate) const MAX_ACKS_PER_REQUEST: usize = 1_024;

/// Most messages that one check point can be about: it has 32 bits.
pub(crate) const MAX_MESSAGES_PER_CHECK_POINT: usize = 32;

/// Longest key of a note on popped messages. It has the names of a topic, a group and a broker, which a
/// request may make up, and is in memory while the note waits to be worked off.
pub(crate) const MAX_NOTE_KEY_BYTES: usize = 2_048;

/// Check points of one revive queue that are held in memory at a time, of about 300 bytes each; the
/// others wait in the log.
pub(crate) const MAX_OPEN_CHECK_POINTS: usize = 100_000;
