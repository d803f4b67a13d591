//! The settings of the reference, and what each does here.

/// A setting as the reference declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Class of the reference that has it.
    pub class: &'static str,
    /// The key.
    pub key: &'static str,
    /// Its type there.
    pub type_name: &'static str,
    /// Its value when the file does not set it.
    pub default: &'static str,
}

impl Setting {
    /// The setting, and what it does here.
    pub fn explained(self, standing: Standing) -> Explanation {
        let Self { class, key, type_name, default } = self;
        Explanation { key, class, type_name, default, standing }
    }
}

/// Reads a table of settings, one a line: class, key, type and default, with tabs between them.
pub fn settings(table: &'static str) -> impl Iterator<Item = Setting> {
    table.lines().filter_map(|line| {
        let mut columns = line.split('\t');
        let (class, key, type_name) = (columns.next()?, columns.next()?, columns.next()?);
        Some(Setting { class, key, type_name, default: columns.next().unwrap_or_default() })
    })
}

/// What one key is and does, for people who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The key.
    pub key: &'static str,
    /// Class of the reference that has it.
    pub class: &'static str,
    /// Its type there.
    pub type_name: &'static str,
    /// Its value when the file does not set it.
    pub default: &'static str,
    /// What it does here.
    pub standing: Standing,
}

/// What a key of the reference does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What it does in the reference.
    Works,
    /// It is accepted and changes nothing.
    NoEffect(&'static str),
    /// Every value but one stops the start.
    Refused {
        /// The value that does not.
        accepted: &'static str,
        /// Why.
        reason: &'static str,
    },
}

impl Standing {
    /// Status and notes, the last two cells of its row in COMPATIBILITY.md.
    pub fn cells(&self) -> (&'static str, String) {
        match self {
            Self::Works => ("works", String::new()),
            Self::NoEffect(reason) => ("no effect", (*reason).to_owned()),
            Self::Refused { accepted: "", reason } => {
                ("refused", format!("any value stops the start: {reason}"))
            }
            Self::Refused { accepted, reason } => {
                ("refused", format!("anything but `{accepted}` stops the start: {reason}"))
            }
        }
    }
}
