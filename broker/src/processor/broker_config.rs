//! `GET_BROKER_CONFIG` (26) and `UPDATE_BROKER_CONFIG` (25).
//!
//! Reference: `AdminBrokerProcessor` (broker), `Configuration` (remoting), 5.5.0.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use oxmq_protocol::body::DataVersion;
use oxmq_protocol::command::CommandView;
use oxmq_protocol::config;
use oxmq_protocol::fastjson::{self, Dialect};
use oxmq_protocol::header::GetBrokerConfigResponseHeader;
use oxmq_protocol::properties_file::{self, Entry};
use oxmq_store::{MessageStore, replace_file};
use tracing::{info, warn};

use super::{Answer, success};
use crate::clock;
use crate::config::BrokerConfig;
use crate::config::change::{self, ChangeError, Effect};
use crate::error::RequestError;
use crate::stamps::Stamps;
use crate::sync::lock;
use crate::topic::TopicConfigManager;

/// What its topics are advertised with, so the name servers have to hear of a change.
const PERMISSION: &str = "brokerPermission";

/// Has no effect, but its default is the number of cores, and `mqadmin exportMetrics` reads it as that.
const CORES: &str = "clientCallbackExecutorThreads";

/// Tells tools how the broker is set up, and lets them change it.
#[derive(Debug)]
pub(crate) struct Configuration {
    config: Arc<BrokerConfig>,
    store: Arc<MessageStore>,
    topics: Arc<TopicConfigManager>,
    stamps: Arc<Stamps>,
    /// Held while settings change, so that two changes do not undo each other.
    version: Mutex<DataVersion>,
}

impl Configuration {
    pub(crate) fn new(
        config: Arc<BrokerConfig>,
        store: Arc<MessageStore>,
        topics: Arc<TopicConfigManager>,
        stamps: Arc<Stamps>,
    ) -> Self {
        Self { config, store, topics, stamps, version: Mutex::default() }
    }

    /// Answers with every setting that has an effect, and the number of cores, as sorted lines.
    pub(crate) fn get(&self) -> Answer {
        let version = lock(&self.version);
        let text = config::print(&[&*self.config, self.store.config()]);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = format!("{CORES}={cores}\n");
        let mut lines: Vec<_> = text.split_inclusive('\n').chain([cores.as_str()]).collect();
        lines.sort_unstable();
        let text = lines.concat();
        let version = fastjson::to_vec(&*version, Dialect::Raw)?;
        let version = String::from_utf8_lossy(&version).into_owned();
        Ok(success().with_body(text).with_header(&GetBrokerConfigResponseHeader { version }))
    }

    /// Changes all the settings in the body and keeps them, or does neither.
    pub(crate) fn update(&self, request: &CommandView<'_>) -> Answer {
        if request.body.is_empty() {
            return Ok(success());
        }
        let entries =
            properties_file::parse(request.body).map_err(|_| RequestError::NotProperties)?;
        let mut version = lock(&self.version);
        let (broker, store) = change::changed(&self.config, self.store.config(), &entries)?;
        let former = self.store.config().clone();
        let unusable = |error: &dyn std::error::Error| ChangeError::Store(error.to_string());
        self.store.change_config(store).map_err(|error| unusable(&error))?;
        let kept = self
            .keep(&entries)
            .and_then(|()| self.config.replace(broker).map_err(|error| unusable(&error).into()));
        if let Err(error) = kept {
            // As before, as far as what has been read in between goes.
            let _ = self.store.change_config(oxmq_store::StoreConfig::clone(&former));
            return Err(error);
        }
        self.stamps.renew(entries.iter().map(|entry| entry.key.as_str()));
        version.advance(0, clock::now_ms());
        drop(version);
        entries.iter().for_each(log);
        if entries.iter().any(|entry| entry.key == PERMISSION) {
            self.topics.announce_all();
        }
        Ok(success())
    }

    /// Writes the changes into the file that the next start reads, whose other lines stay.
    fn keep(&self, entries: &[Entry]) -> Result<(), RequestError> {
        let path = match &self.config.broker_config_path {
            Some(path) => PathBuf::from(path),
            None => self.store.config().root_dir().join("config").join("broker.properties"),
        };
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|error| RequestError::KeepConfig(error.to_string()))?,
        };
        let changes: Vec<_> =
            entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
        let text = properties_file::amend(&text, &changes)
            .map_err(|error| RequestError::KeepConfig(error.to_string()))?;
        replace_file(&path, &text).map_err(|error| RequestError::KeepConfig(error.to_string()))
    }
}

fn log(Entry { key, value, .. }: &Entry) {
    match change::effect(key) {
        Effect::Now => info!(key, value, "setting changed"),
        Effect::NextStart => info!(key, value, "setting changed from the next start on"),
        Effect::None(reason) => warn!(key, value, reason, "setting has no effect"),
    }
}

#[cfg(test)]
mod tests {
    use oxmq_protocol::code::{RequestCode, ResponseCode};
    use oxmq_protocol::command::RemotingCommand;
    use oxmq_protocol::ext_fields::Fields;

    use super::super::testing::{Managers, body, managers, with_view};
    use super::*;

    fn configuration(m: &Managers) -> Configuration {
        let stamps = Arc::new(Stamps::new(Arc::clone(&m.config)));
        let (config, store, topics) = (&m.config, &m.store, &m.topics);
        Configuration::new(Arc::clone(config), Arc::clone(store), Arc::clone(topics), stamps)
    }

    fn update(processor: &Configuration, text: &str) -> Answer {
        let request =
            RemotingCommand::request(RequestCode::UPDATE_BROKER_CONFIG).with_body(text.to_owned());
        with_view(&request, |view| processor.update(view))
    }

    #[test]
    fn settings_of_broker_and_store_come_sorted_with_their_version() {
        let m = managers(|config| config.broker_id = 7);
        let answer = configuration(&m).get().unwrap();
        let lines: Vec<_> = body(&answer).lines().collect();
        assert!(lines.is_sorted());
        assert!(lines.contains(&"brokerId=7") && lines.contains(&"brokerRole=ASYNC_MASTER"));
        assert!(lines.contains(&"mappedFileSizeCommitLog=1048576"));
        let cores =
            lines.iter().find_map(|line| line.strip_prefix("clientCallbackExecutorThreads="));
        assert!(cores.unwrap().parse::<usize>().unwrap() > 0);
        assert_eq!(
            answer.ext_fields.get("version").as_deref(),
            Some(r#"{"counter":0,"stateVersion":0,"timestamp":0}"#)
        );
    }

    #[test]
    fn change_counts_at_once_and_is_kept_in_the_file_that_was_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("broker.conf");
        std::fs::write(&file, "# mine\nbrokerPermission = 6\nbrokerName=b\n").unwrap();
        let m = managers(|config| {
            config.broker_config_path = Some(file.display().to_string());
        });
        let processor = configuration(&m);
        let told = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&told);
        m.topics.on_change(move |_| *lock(&counter) += 1);
        update(&processor, "brokerPermission=4\nfileReservedTime=48\nsendMessageThreadPoolNums=2")
            .unwrap();
        assert_eq!(m.config.broker_permission, 4);
        assert_eq!(m.store.config().file_reserved_time, 48);
        assert!(*lock(&told) > 0, "the name servers do not hear of it");
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            text,
            "# mine\nbrokerPermission=4\nbrokerName=b\nfileReservedTime=48\n\
             sendMessageThreadPoolNums=2\n"
        );
        let version = processor.get().unwrap().ext_fields.get("version").unwrap().into_owned();
        assert!(version.starts_with(r#"{"counter":1,"#), "{version}");
    }

    #[test]
    fn messages_and_answers_are_stamped_with_what_was_changed() {
        let m = managers(|_| ());
        let processor = configuration(&m);
        let stamp = || String::from_utf8(processor.stamps.of_messages().to_vec()).unwrap();
        assert!(stamp().contains("TRACE_ON\u{1}true\u{2}"), "{}", stamp());
        update(&processor, "regionId=north\ntraceOn=false").unwrap();
        let cluster = &m.config.broker_cluster_name;
        assert_eq!(
            stamp(),
            format!("MSG_REGION\u{1}north\u{2}TRACE_ON\u{1}false\u{2}CLUSTER\u{1}{cluster}\u{2}")
        );
    }

    #[test]
    fn refused_change_leaves_settings_and_file_as_they_were() {
        let m = managers(|_| ());
        let processor = configuration(&m);
        for (text, code) in [
            ("fileReservedTime=1\nrocketmqHome=/tmp/x", ResponseCode::NO_PERMISSION),
            ("fileReservedTime=1\nbrokerConfigPath=/tmp/x", ResponseCode::NO_PERMISSION),
            ("fileReservedTime=x", ResponseCode::SYSTEM_ERROR),
            ("fileReservedTime=1\nnoSuchKey=1", ResponseCode::SYSTEM_ERROR),
            ("fileReservedTime=1\nmessageDelayLevel=never", ResponseCode::SYSTEM_ERROR),
            ("fileReservedTime=\\u12", ResponseCode::SYSTEM_ERROR),
        ] {
            assert_eq!(update(&processor, text).unwrap_err().response_code(), code, "{text}");
        }
        assert_eq!(m.store.config().file_reserved_time, 72);
        let file = m.store.config().root_dir().join("config/broker.properties");
        assert!(!file.exists());
        update(&processor, "").unwrap();
        assert!(!file.exists());
        update(&processor, "fileReservedTime=1").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "fileReservedTime=1\n");
    }
}
