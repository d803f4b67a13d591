//! How full the disk is.

use std::io;
use std::path::Path;

/// Used and available bytes of the file system that a directory is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes of the file system.
    pub total_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes that the broker may still use.
    pub available_bytes: u64,
}

impl DiskSpace {
    /// Space of the file system of `dir`, or of the nearest directory above that exists.
    pub fn of(dir: &Path) -> Option<Self> {
        let dir = dir.ancestors().find(|dir| dir.exists())?;
        let stat = rustix::fs::statvfs(dir).ok()?;
        Some(Self {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            used_bytes: stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize),
            available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    /// Bytes that are not in use, although some of them may be for root alone.
    pub fn free_bytes(&self) -> u64 {
        self.total_bytes.saturating_sub(self.used_bytes)
    }

    /// Percent of the space that is used, rounded up; what only root may use does not count.
    ///
    /// Reference: `UtilAll.getDiskPartitionSpaceUsedPercent` (common), 5.5.0.
    pub fn used_percent(&self) -> u32 {
        let total = u128::from(self.used_bytes) + u128::from(self.available_bytes);
        let used = u128::from(self.used_bytes) * 100;
        if total == 0 { 100 } else { used.div_ceil(total) as u32 }
    }
}

/// Whether an operation has failed for want of space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_rounded_up() {
        let percent = |used_bytes, available_bytes| {
            let total_bytes = used_bytes + available_bytes;
            DiskSpace { total_bytes, used_bytes, available_bytes }.used_percent()
        };
        assert_eq!(
            [percent(0, 10), percent(1, 999), percent(5, 5), percent(0, 0)],
            [0, 1, 50, 100]
        );
    }

    #[test]
    fn directory_that_does_not_exist_has_the_space_of_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        assert!(DiskSpace::of(&dir.path().join("a/b")).is_some());
    }
}
