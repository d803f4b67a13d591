//! Metadata whose changes outlive a crash before the file that holds all of it is written.

use std::path::Path;

use oxmq_protocol::body::DataVersion;
use oxmq_store::{JsonFileError, JsonJournal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::clock::now_ms;
use crate::saved_table::{SaveSignal, SavedTable};

/// What a tool is told whose change cannot be made durable.
pub(crate) const NOT_SAVED: &str =
    "the change counts, but cannot be saved: a crash of the broker would take it back";

/// What a journaled file holds.
pub(crate) trait Journaled:
    Serialize + DeserializeOwned + Default + Clone + Send + Sync
{
    /// One change of it.
    type Change: Serialize + DeserializeOwned;

    /// Counts its changes.
    fn data_version(&mut self) -> &mut DataVersion;

    /// Makes a change again.
    fn apply(&mut self, change: Self::Change);
}

/// A line of the journal: what changed with one step of the version.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Step<C> {
    data_version: DataVersion,
    changes: Vec<C>,
}

/// A metadata file, its journal, and whether the file is behind.
#[derive(Debug)]
pub(crate) struct JournaledTable<T: Journaled> {
    table: SavedTable<T>,
    journal: JsonJournal<Step<T::Change>>,
    /// Has the file saved soon.
    save: SaveSignal,
}

impl<T: Journaled> JournaledTable<T> {
    /// The file called `name` in the store's configuration directory.
    pub(crate) fn new(store_root: &Path, name: &str, save: SaveSignal) -> Self {
        let table = SavedTable::new(store_root, name);
        let journal = JsonJournal::of(table.path());
        Self { table, journal, save }
    }

    /// Reads what was saved last and what changed after that, and saves it together.
    ///
    /// # Errors
    /// When neither the file nor its backup can be read, or the journal cannot be read.
    pub(crate) fn load(&self) -> Result<T, JsonFileError> {
        let mut value = self.table.load()?.unwrap_or_default();
        let steps = self.journal.load()?;
        let Some(first) = steps.first() else { return Ok(value) };

        let of_file = *value.data_version();
        let known = steps.iter().position(|step| step.data_version == of_file);
        if known.is_none() && first.data_version.counter <= of_file.counter {
            // Another broker took over after the crash, and these changes were never in its table.
            let kept = self.journal.set_aside()?;
            warn!(file = %self.table.path().display(), kept = %kept.display(),
                "changes of a journal are left out: the file has been changed by another broker");
            return Ok(value);
        }
        let missing = steps.into_iter().skip(known.map_or(0, |known| known + 1));
        let mut count = 0;
        for Step { data_version, changes } in missing {
            *value.data_version() = data_version;
            count += changes.len();
            changes.into_iter().for_each(|change| value.apply(change));
        }
        info!(file = %self.table.path().display(), count, "changes taken over from the journal");
        self.changed();
        let saved = self.save_if_changed(|| value.clone());
        if let Err(error) = saved {
            // They are in the journal still.
            error!(%error, "metadata not saved");
        }
        Ok(value)
    }

    /// Notes that the file is behind.
    pub(crate) fn changed(&self) {
        self.table.changed();
    }

    /// Notes what has changed with the next step of `data_version`. Whoever changes the table calls this before
    /// anyone else can change it or see the new version.
    pub(crate) fn note(&self, data_version: &mut DataVersion, changes: Vec<T::Change>) {
        data_version.advance(0, now_ms());
        self.changed();
        let step = Step { data_version: *data_version, changes };
        if let Err(error) = self.journal.note(data_version.counter, &step) {
            error!(%error, "change not noted");
        }
        self.save.notify();
    }

    /// Makes everything durable that was noted before the call: in the journal, or else in the file. What
    /// cannot be written to either is tried again in the background.
    ///
    /// # Errors
    /// The remark that a tool gets that has asked for the change.
    pub(crate) fn keep(&self, snapshot: impl FnOnce() -> T + Send) -> Result<(), String> {
        let kept = self.journal.keep().or_else(|error| {
            warn!(%error, "the file is saved at once instead of its journal");
            self.save_if_changed(snapshot)
        });
        kept.map_err(|error| {
            error!(%error, "metadata not saved");
            NOT_SAVED.to_owned()
        })
    }

    /// Saves a snapshot if the file is behind, as [`SavedTable::save_if_changed`] does.
    pub(crate) fn save_if_changed(
        &self,
        snapshot: impl FnOnce() -> T + Send,
    ) -> Result<(), JsonFileError> {
        let mut saved = None;
        self.table.save_if_changed(|| {
            let mut value = snapshot();
            saved = Some(value.data_version().counter);
            value
        })?;
        saved.map_or(Ok(()), |last| self.journal.forget(last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Mutex;

    use super::*;
    use crate::sync::lock;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Names {
        data_version: DataVersion,
        names: BTreeSet<String>,
    }

    #[derive(Serialize, Deserialize)]
    enum Change {
        Put(String),
        Delete(String),
    }

    impl Journaled for Names {
        type Change = Change;

        fn data_version(&mut self) -> &mut DataVersion {
            &mut self.data_version
        }

        fn apply(&mut self, change: Change) {
            match change {
                Change::Put(name) => self.names.insert(name),
                Change::Delete(name) => self.names.remove(&name),
            };
        }
    }

    /// A broker's table of names.
    struct Broker {
        table: JournaledTable<Names>,
        names: Mutex<Names>,
    }

    impl Broker {
        fn start(dir: &Path) -> Self {
            let table = JournaledTable::new(dir, "names.json", SaveSignal::default());
            let names = Mutex::new(table.load().unwrap());
            Self { table, names }
        }

        fn change(&self, is_there: bool, name: &str) {
            let mut names = lock(&self.names);
            let name = name.to_owned();
            let change =
                || if is_there { Change::Put(name.clone()) } else { Change::Delete(name.clone()) };
            names.apply(change());
            self.table.note(&mut names.data_version, vec![change()]);
        }

        fn keep(&self) {
            self.table.keep(|| lock(&self.names).clone()).unwrap();
        }

        fn save(&self) {
            self.table.save_if_changed(|| lock(&self.names).clone()).unwrap();
        }

        fn names(&self) -> Vec<String> {
            lock(&self.names).names.iter().cloned().collect()
        }
    }

    fn file(dir: &Path, name: &str) -> PathBuf {
        dir.join("config").join(name)
    }

    fn in_file(dir: &Path) -> Names {
        let text = fs::read(file(dir, "names.json")).unwrap();
        oxmq_protocol::fastjson::from_slice(&text).unwrap()
    }

    #[test]
    fn what_is_kept_is_there_after_a_crash_and_in_the_file_after_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        broker.change(true, "a");
        broker.save();
        broker.change(true, "b");
        broker.change(false, "a");
        broker.keep();
        broker.change(true, "not kept");
        assert_eq!(in_file(dir.path()).names, BTreeSet::from(["a".to_owned()]));

        let again = Broker::start(dir.path());
        assert_eq!(again.names(), ["b"]);
        assert_eq!(in_file(dir.path()), *lock(&again.names));
        assert!(!file(dir.path(), "names.json.journal").exists());
        assert_eq!(Broker::start(dir.path()).names(), ["b"]);
    }

    #[test]
    fn journal_that_is_left_beside_a_file_that_has_it_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        broker.change(true, "a");
        broker.keep();
        broker.change(false, "a");
        broker.keep();
        // As a crash leaves it between the save of the file and the end of the journal, or in the middle
        // of the changes.
        let journal = fs::read(file(dir.path(), "names.json.journal")).unwrap();
        broker.save();
        fs::write(file(dir.path(), "names.json.journal"), &journal).unwrap();
        let again = Broker::start(dir.path());
        assert_eq!(*lock(&again.names), *lock(&broker.names));
        again.change(true, "b");
        again.save();
        assert_eq!(in_file(dir.path()).data_version.counter, 3);
    }

    #[test]
    fn journal_is_left_out_when_another_broker_has_changed_the_file_since() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        broker.change(true, "a");
        broker.save();
        broker.change(false, "a");
        broker.change(true, "b");
        broker.keep();
        let mut others = in_file(dir.path());
        others.names.insert("c".to_owned());
        others.data_version.advance(0, 99);
        let text = oxmq_protocol::fastjson::to_pretty(&others).unwrap();
        fs::write(file(dir.path(), "names.json"), text).unwrap();

        assert_eq!(Broker::start(dir.path()).names(), ["a", "c"]);
        assert!(file(dir.path(), "names.json.journal.foreign").exists());
        assert_eq!(Broker::start(dir.path()).names(), ["a", "c"]);
    }

    #[test]
    fn changes_are_made_again_on_the_backup_of_a_damaged_file() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        for name in ["a", "b"] {
            broker.change(true, name);
            broker.save();
        }
        broker.change(true, "c");
        broker.keep();
        fs::write(file(dir.path(), "names.json"), "{").unwrap();
        assert_eq!(Broker::start(dir.path()).names(), ["a", "c"]);
    }

    #[test]
    fn damaged_journal_is_no_reason_not_to_start() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        broker.change(true, "a");
        broker.save();
        for garbage in [&b"\n\n"[..], b"\0\0\0\0", b"\xff\n00000000 {}\n", b"00000000 \nx\n\n"] {
            fs::write(file(dir.path(), "names.json.journal"), garbage).unwrap();
            let again = Broker::start(dir.path());
            assert_eq!(again.names(), ["a"]);
            again.change(true, "b");
            again.keep();
            assert_eq!(Broker::start(dir.path()).names(), ["a", "b"]);
            again.change(false, "b");
            again.save();
        }
    }

    #[test]
    fn change_is_saved_with_the_file_when_the_journal_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        fs::create_dir_all(file(dir.path(), "names.json.journal")).unwrap();
        broker.change(true, "a");
        broker.table.keep(|| lock(&broker.names).clone()).unwrap_err();
        assert_eq!(in_file(dir.path()).names.len(), 1, "and the directory is in the way still");
        fs::remove_dir(file(dir.path(), "names.json.journal")).unwrap();
        broker.change(true, "b");
        broker.keep();
        assert_eq!(in_file(dir.path()).names.len(), 2);
        broker.change(true, "c");
        broker.keep();
        assert_eq!(in_file(dir.path()).names.len(), 2, "the journal has it");
        assert_eq!(Broker::start(dir.path()).names(), ["a", "b", "c"]);
    }
}
