//! The settings of the store's broker.

use std::path::Path;

use oxmq_protocol::config::{self, ConfigError};
use oxmq_store::StoreConfig;
use oxmq_store::offline::StoreDir;

use super::{Failure, Target};

impl Target {
    pub(super) fn open(&self) -> Result<StoreDir, Failure> {
        Ok(StoreDir::open(&self.dir, self.config()?)?)
    }

    pub(super) fn config(&self) -> Result<Option<StoreConfig>, Failure> {
        self.config_file.as_deref().map(load).transpose()
    }
}

/// The store's part of a broker's settings; keys of other parts are left alone.
fn load(file: &Path) -> Result<StoreConfig, Failure> {
    let name = file.display().to_string();
    let text =
        std::fs::read(file).map_err(|source| ConfigError::Read { file: name.clone(), source })?;
    let mut store = StoreConfig::default();
    config::apply(&name, &text, &mut [&mut store])?;
    Ok(store)
}
