//! A small file that is replaced as a whole, and survives a crash at any moment.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Replaces the content of `path`, whose former content stays in `path.bak`.
///
/// The new content is on disk before it gets the name: a crash leaves the old file or the new one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let fresh = beside(path, "tmp");
    let mut file = File::create(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    match fs::read(path) {
        Ok(former) => {
            let backup = beside(path, "bak.tmp");
            fs::write(&backup, former)?;
            File::open(&backup)?.sync_all()?;
            fs::rename(&backup, beside(path, "bak"))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

/// The name of the former content of `path`.
pub(crate) fn backup_of(path: &Path) -> PathBuf {
    beside(path, "bak")
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_file_keeps_its_former_content_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/settings.json");
        replace(&path, b"one").unwrap();
        assert!(!backup_of(&path).exists());
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read(backup_of(&path)).unwrap(), b"one");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    }
}
