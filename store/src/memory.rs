//! How much memory there is for this process and the file pages that it uses.

use std::fs;
use std::path::Path;

/// Where the kernel shows its control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Bytes of memory of the machine, or of the control group of this process if that may have less,
/// as in a container: its file pages count there, too.
pub(crate) fn memory_bytes() -> Option<u64> {
    let limit = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|groups| group_limit(&groups, Path::new(CGROUPS)));
    machine_bytes().into_iter().chain(limit).min()
}

fn machine_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The least limit of the groups in `groups`, the text of `/proc/self/cgroup`, and those around them.
///
/// A process in a container may see its own group as the root of the tree, while the path is that on
/// the host: folders that are not there are passed over.
fn group_limit(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (kinds, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let (tree, file) = match kinds {
            "" => (root.to_owned(), "memory.max"),
            "memory" => (root.join(kinds), "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let path = Path::new(path.trim_start_matches('/'));
        let limit = |group: &Path| -> Option<u64> {
            fs::read_to_string(tree.join(group).join(file)).ok()?.trim().parse().ok()
        };
        path.ancestors().filter_map(limit).collect()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_limit_of_the_groups_around_counts() {
        let dir = tempfile::tempdir().unwrap();
        let limit = |group: &str, file: &str, text: &str| {
            let group = dir.path().join(group);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join(file), text).unwrap();
        };
        let unified = "0::/pod/container\n";
        assert_eq!(group_limit(unified, dir.path()), None);
        limit("pod/container", "memory.max", "max\n");
        assert_eq!(group_limit(unified, dir.path()), None);
        limit("pod", "memory.max", "2000\n");
        assert_eq!(group_limit(unified, dir.path()), Some(2_000));
        limit("", "memory.max", "1000\n");
        assert_eq!(group_limit(unified, dir.path()), Some(1_000), "the root of a container");

        limit("memory/pod", "memory.limit_in_bytes", "700\n");
        let separate = "5:cpu:/pod\n4:memory:/pod\n0::/\nnonsense\n";
        assert_eq!(group_limit(separate, dir.path()), Some(700));
    }

    #[test]
    fn machine_has_memory() {
        assert!(memory_bytes().unwrap() > 1 << 20);
    }
}
