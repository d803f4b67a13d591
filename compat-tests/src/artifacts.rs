//! Where the programs are that `scripts/compat-setup` and `cargo build` made.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The jars of the official servers, of mqadmin and of the newest client.
pub const REFERENCE_JARS: &str = "reference-5.5.0";

/// The jars of the official servers of an older release.
#[must_use]
pub fn older_jars(version: &str) -> String {
    format!("reference-{version}")
}

/// The jars of the old client.
pub const OLD_CLIENT_JARS: &str = "client-4.9.8";

/// Folder of `compat-tests/` in this clone.
fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The cache outside git that `scripts/compat-setup` fills.
#[must_use]
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = env::var_os("OXMQ_COMPAT_CACHE") {
        return PathBuf::from(dir);
    }
    let home = env::var_os("HOME").expect("HOME is set");
    PathBuf::from(home).join(".cache/oxmq-compat")
}

/// A Java class path: every jar of one resolved set, and a folder of our own classes if named.
#[must_use]
pub fn class_path(jars: &str, classes: Option<&str>) -> String {
    let cache = cache_dir();
    let jars = need(cache.join(jars));
    let mut path = format!("{}/*", jars.display());
    if let Some(classes) = classes {
        path = format!("{}:{path}", need(cache.join(classes)).display());
    }
    path
}

/// A Java command with the flags that make a short-lived JVM cheap; `home` takes its files.
#[must_use]
pub fn java(home: &Path, heap: &str) -> Command {
    let mut command = Command::new("java");
    command
        .args([format!("-Xms{heap}"), format!("-Xmx{heap}")])
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto"])
        .arg(format!("-Duser.home={}", home.display()))
        .arg(format!("-Djava.io.tmpdir={}", home.display()));
    command
}

/// The compiled Go client.
#[must_use]
pub fn go_client() -> PathBuf {
    need(cache_dir().join("go/compat-client"))
}

/// The program around the C++ client.
#[must_use]
pub fn cpp_client() -> Command {
    let mut command = Command::new(need(cache_dir().join("python/bin/python")));
    command.arg(crate_dir().join("python/client.py"));
    command
}

/// The program around the Node client.
#[must_use]
pub fn node_client() -> Command {
    let mut command = Command::new("node");
    command.arg(need(cache_dir().join("node")).join("client.js"));
    command
}

/// The scenarios of the C++ client.
#[must_use]
pub fn cpp_catalogue() -> Command {
    let mut command = Command::new(need(cache_dir().join("python/bin/python")));
    command.arg(crate_dir().join("python/catalogue.py"));
    command
}

/// The scenarios of the Node client.
#[must_use]
pub fn node_catalogue() -> Command {
    let mut command = Command::new("node");
    command.arg(crate_dir().join("node/catalogue.js"));
    command.env("NODE_PATH", need(cache_dir().join("node/node_modules")));
    command
}

/// The `oxmq` binary: `OXMQ_BIN`, or the newest that this clone has built.
#[must_use]
pub fn oxmq() -> PathBuf {
    if let Some(bin) = env::var_os("OXMQ_BIN") {
        return PathBuf::from(bin);
    }
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate_dir().join("../target"), PathBuf::from);
    ["fast", "release", "debug"]
        .iter()
        .map(|profile| target.join(profile).join("oxmq"))
        .filter_map(|bin| Some((bin.metadata().ok()?.modified().ok()?, bin)))
        .max()
        .map(|(_, bin)| bin)
        .expect("no oxmq binary: run `cargo build -p oxmq --profile fast` or set OXMQ_BIN")
}

fn need(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run scripts/compat-setup", path.display());
    path
}
