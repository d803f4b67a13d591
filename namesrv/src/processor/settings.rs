//! The name server's own settings, read and changed while it runs.

use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::config::Config as _;
use oxmq_protocol::properties_file;

use super::{Answer, success};
use crate::config::NO_EFFECT;
use crate::core::NameServer;
use crate::error::RequestError;

impl NameServer {
    /// Changes all the settings in the body or none: a closed key refuses the whole request.
    pub(crate) fn update_config(&self, request: &RemotingCommand) -> Answer {
        if request.body.is_empty() {
            return Ok(success());
        }
        let entries =
            properties_file::parse(&request.body).map_err(|_| RequestError::NotProperties)?;
        self.change_settings(|settings| {
            if entries.iter().any(|entry| settings.is_closed(&entry.key)) {
                return Err(RequestError::ClosedKey);
            }
            for entry in &entries {
                settings.change(&entry.key, &entry.value)?;
                let (key, value) = (&entry.key, &entry.value);
                match NO_EFFECT.iter().find(|(key, _)| key == &entry.key) {
                    Some((_, reason)) => tracing::warn!(key, reason, "setting has no effect"),
                    None => tracing::info!(key, value, "setting changed"),
                }
            }
            Ok(())
        })?;
        Ok(success())
    }

    pub(crate) fn get_config(&self) -> Answer {
        let settings = self.settings();
        let lines: String = settings
            .keys()
            .iter()
            .filter_map(|key| Some((key, settings.get(key).filter(|text| !text.is_empty())?)))
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        Ok(success().with_body(lines))
    }
}
