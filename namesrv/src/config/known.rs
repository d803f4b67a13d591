//! What each key of the reference does here.

use oxmq_protocol::config::{self, Cause, Config as _, Explanation, Rules, Setting, Standing};
use oxmq_remoting::DEFAULT_TLS_CONFIG_FILE;

use super::NamesrvConfig;

/// What the name server knows about keys beside their type.
pub(super) const RULES: Rules = Rules { refusal, without_effect, unknown };

/// Keys that ask for what does not exist here, and why it does not.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("clusterTest", "there is no cluster-test mode"),
    ("enableControllerInNamesrv", "there is no controller yet"),
];

const THREADS: &str = "requests are handled where they are read, not in pools of threads";
const BUFFERS: &str = "buffers and sockets adapt by themselves within fixed limits";

/// Keys that are known but change nothing, each with the reason.
pub const NO_EFFECT: &[(&str, &str)] = &[
    ("rocketmqHome", "nothing is read from the installation folder"),
    ("productEnvName", "there is no cluster-test mode"),
    ("clientRequestThreadPoolNums", THREADS),
    ("defaultThreadPoolNums", THREADS),
    ("clientRequestThreadPoolQueueCapacity", THREADS),
    ("defaultThreadPoolQueueCapacity", THREADS),
    ("serverWorkerThreads", THREADS),
    ("serverCallbackExecutorThreads", THREADS),
    ("serverSelectorThreads", THREADS),
    ("serverOnewaySemaphoreValue", THREADS),
    ("serverAsyncSemaphoreValue", THREADS),
    ("serverNettyWorkerGroupEnable", THREADS),
    ("useEpollNativeSelector", THREADS),
    ("serverSocketSndBufSize", BUFFERS),
    ("serverSocketRcvBufSize", BUFFERS),
    ("writeBufferHighWaterMark", BUFFERS),
    ("writeBufferLowWaterMark", BUFFERS),
    ("serverSocketBacklog", BUFFERS),
    ("serverPooledByteBufAllocatorEnable", BUFFERS),
];

/// Why a key of the reference changes nothing here, if so.
fn why_no_effect(key: &str) -> Option<&'static str> {
    let listed = NO_EFFECT.iter().find(|(listed, _)| *listed == key).map(|(_, why)| *why);
    // `NettyClientConfig` (remoting), which the reference's name server reads, too.
    listed.or_else(|| CLIENT_KEYS.contains(&key).then_some("brokers are told without settings"))
}

const CLIENT_KEYS: &[&str] = &[
    "clientWorkerThreads",
    "clientCallbackExecutorThreads",
    "clientOnewaySemaphoreValue",
    "clientAsyncSemaphoreValue",
    "connectTimeoutMillis",
    "channelNotActiveInterval",
    "clientChannelMaxIdleTimeSeconds",
    "clientSocketSndBufSize",
    "clientSocketRcvBufSize",
    "clientPooledByteBufAllocatorEnable",
    "clientCloseSocketIfTimeout",
    "useTLS",
    "socksProxyConfig",
    "disableCallbackExecutor",
    "disableNettyWorkerGroup",
    "maxReconnectIntervalTimeSeconds",
    "enableReconnectForGoAway",
];

/// Settings that the reference's name server reads from no file: class, key, type and default.
pub(super) const OWN: &[[&str; 4]] = &[
    [NOT_OF_THE_REFERENCE, "httpEndpointPort", "int", ""],
    [NOT_OF_THE_REFERENCE, "namesrvAddr", "String", ""],
    [NOT_OF_THE_REFERENCE, "listeners", "String", ""],
    [NOT_OF_THE_REFERENCE, "listenerNetworks", "String", ""],
    ["TlsSystemConfig", "tls.server.mode", "String", "permissive"],
    ["TlsSystemConfig", "tls.config.file", "String", DEFAULT_TLS_CONFIG_FILE],
];

const NOT_OF_THE_REFERENCE: &str = "none: not a key of the reference";

/// Class, key, type and default of each setting that the reference's name server reads.
const REFERENCE_SETTINGS: &str = include_str!("reference-5.5.0.tsv");

pub(super) fn reference_settings() -> impl Iterator<Item = Setting> {
    config::settings(REFERENCE_SETTINGS)
}

fn refusal(key: &str, value: &str) -> Option<&'static str> {
    let (_, reason) = REFUSED.iter().find(|(refused, _)| *refused == key && value == "true")?;
    Some(reason)
}

fn without_effect(key: &str) -> Option<Cause> {
    why_no_effect(key).map(Cause::NoEffect)
}

fn unknown(key: &str, nearest: Option<&'static str>) -> Option<Cause> {
    Some(without_effect(key).unwrap_or(Cause::Unknown(nearest)))
}

impl NamesrvConfig {
    /// What every key does here: those of the reference first, in its order.
    pub fn explanations() -> Vec<Explanation> {
        let standing = |key| match refusal(key, "true") {
            Some(reason) => Standing::Refused { accepted: "false", reason },
            None => why_no_effect(key).map_or(Standing::Works, Standing::NoEffect),
        };
        let reference = reference_settings().map(|setting| {
            // The reference sets it when it starts, behind its own default.
            let default = if setting.key == "listenPort" { "9876" } else { setting.default };
            Setting { default, ..setting }.explained(standing(setting.key))
        });
        let own = OWN.iter().map(|&[class, key, type_name, default]| {
            Setting { class, key, type_name, default }.explained(Standing::Works)
        });
        reference.chain(own).collect()
    }

    /// The setting that asks for what does not exist here, and what it is.
    pub fn unsupported(&self) -> Option<String> {
        let asked = |key: &str| self.get(key).as_deref() == Some("true");
        let (key, reason) = REFUSED.iter().find(|(key, _)| asked(key))?;
        Some(format!("{key}=true: {reason}"))
    }
}
