#![no_main]

use std::sync::LazyLock;

/// Where the input becomes a file.
static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| oxmq_store::fuzzing::index_head(input, DIR.path()));
