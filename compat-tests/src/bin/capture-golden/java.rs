//! The Java program that makes one call after the other.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use oxmq_compat_tests::artifacts;
use tempfile::TempDir;

/// A running `GoldenCalls` or `GoldenApi`.
pub(crate) struct JavaCalls {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _home: TempDir,
}

impl JavaCalls {
    /// Starts `program`, one of these classes.
    pub(crate) fn start(
        jars: &str,
        classes: &str,
        program: &str,
        form: &str,
        namesrv: &str,
    ) -> Self {
        let home = tempfile::Builder::new().prefix("oxmq-compat-golden-").tempdir().unwrap();
        let mut child = artifacts::java(home.path(), "256m")
            .arg(format!("-Drocketmq.serialize.type={form}"))
            .env("ROCKETMQ_HOME", home.path())
            .env_remove("NAMESRV_ADDR")
            .current_dir(home.path())
            .arg("-cp")
            .arg(artifacts::class_path(jars, Some(classes)))
            .args([program, namesrv])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(home.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, lines, _home: home }
    }

    /// Makes one call and waits for its end; one that fails is told, as its frames count too.
    pub(crate) fn call(&mut self, call: &str) {
        writeln!(self.stdin, "{call}").unwrap();
        let results = self.lines.by_ref().map_while(Result::ok);
        let result = results.filter_map(|line| Some(line.strip_prefix('@')?.to_owned())).next();
        let result = result.expect("the Java program goes on");
        if result != "ok" {
            eprintln!("{call}: {result}");
        }
    }
}

impl Drop for JavaCalls {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
