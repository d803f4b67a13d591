//! Limits on what peers can make the name server hold, each beside its reason.

/// Longest name of a topic, broker, cluster or namespace and longest address, in bytes. Retry
/// topics of the longest consumer group have about 300.
pub(crate) const MAX_NAME_BYTES: usize = 1024;

/// Topics in the route table. One costs about 100 bytes and 20 more for each broker that has it.
pub(crate) const MAX_TOPICS: usize = 1_000_000;

/// Broker names in the route table.
pub(crate) const MAX_BROKERS: usize = 10_000;

/// Addresses of one broker name: a master and its slaves.
pub(crate) const MAX_MEMBERS: usize = 128;

/// Addresses that are alive, of all brokers: one of them may register under ever other ones. A name has
/// few.
pub(crate) const MAX_ADDRESSES: usize = 4 * MAX_BROKERS;
/// Names of clusters, and so how many one broker can be in.
pub(crate) const MAX_CLUSTERS: usize = 1_000;
/// Filter servers of one broker.
pub(crate) const MAX_FILTER_SERVERS: usize = 64;

/// Queues of a static topic on one broker. The tool that makes such topics has no more than a few
/// hundred.
pub(crate) const MAX_MAPPED_QUEUES: usize = 16 * 1024;

/// Queues of all static topics on all brokers, of about 50 bytes each, and mappings, which count as as many
/// queues as [`MAPPING_QUEUES`].
pub(crate) const MAX_MAPPED_QUEUES_IN_ALL: usize = 1_000_000;
/// What a mapping takes beside its queues, in queues.
pub(crate) const MAPPING_QUEUES: usize = 8;

/// Topics applied or cleaned in one hold of the table's lock, some 0.2 ms, so that a large
/// registration does not keep route queries waiting.
pub(crate) const TOPICS_A_TURN: usize = 1024;

/// Topic names compared with one that has no route: a poll for a topic that does not exist must
/// stay cheap however many do. Comparing two names takes about half a microsecond.
pub(crate) const MAX_NEAREST_CANDIDATES: usize = 500;

/// Topics and machines that asked for their route of late. One costs some 100 bytes; 1 000 machines
/// with clients of 50 topics each are 50 000.
pub(crate) const MAX_ROUTE_QUESTIONS: usize = 100_000;

/// Bytes of all key-value settings: the file is rewritten as a whole on each change.
pub(crate) const MAX_KV_BYTES: usize = 4 * 1024 * 1024;

/// Requests that wait for the worker. Many brokers register at once when a name server comes back.
pub(crate) const MAX_WAITING_REQUESTS: usize = 10_000;

/// Bytes of those: the registrations of some 20 brokers with 50 000 topics each.
pub(crate) const MAX_WAITING_BYTES: usize = 256 * 1024 * 1024;

/// Of those that wait for the worker, those that take long, some 30 ms each where there are 100 000 topics:
/// brokers must register behind them before they count as silent.
pub(crate) const MAX_WAITING_SLOW_REQUESTS: usize = 128;

/// HTTP requests under way at a time; more wait to be accepted.
pub(crate) const MAX_HTTP_CONNECTIONS: usize = 256;

/// Longest HTTP request. The reference's client sends about 300 bytes.
pub(crate) const MAX_HTTP_REQUEST_BYTES: usize = 8 * 1024;
