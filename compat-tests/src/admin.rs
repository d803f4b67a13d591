//! `mqadmin`, the official administration tool, run as its users run it.

use tempfile::TempDir;

use crate::{ServerUnderTest, artifacts};

/// What one run of mqadmin printed.
///
/// The tool ends with 0 whatever happens, so a test reads the text.
pub struct Output {
    /// Standard output.
    pub out: String,
    /// Standard error: stack traces of failed commands.
    pub err: String,
}

impl Output {
    /// The lines of the output that are not empty.
    #[must_use]
    pub fn lines(&self) -> Vec<&str> {
        self.out.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
    }

    /// Fails if the command reported an error.
    ///
    /// # Panics
    /// If it did.
    pub fn assert_no_error(&self) {
        let failed = self.out.contains("Exception") || self.err.contains("Exception");
        assert!(!failed, "{}\n{}", self.out, self.err);
    }
}

/// Runs `mqadmin COMMAND -n NAMESRV ARGS`.
///
/// # Panics
/// When Java cannot be started.
#[must_use]
pub fn mqadmin(server: &ServerUnderTest, command: &str, args: &[&str]) -> Output {
    let home = TempDir::new().unwrap();
    let output = artifacts::java(home.path(), "128m")
        .env("ROCKETMQ_HOME", home.path())
        .env_remove("NAMESRV_ADDR")
        .arg("-cp")
        .arg(artifacts::class_path(artifacts::REFERENCE_JARS, None))
        .args(["org.apache.rocketmq.tools.command.MQAdminStartup", command])
        .args(["-n", &server.namesrv_addr()])
        .args(args)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    Output { out: text(&output.stdout), err: text(&output.stderr) }
}

fn text(bytes: &[u8]) -> String {
    // The logging library tells its own start here, in hundreds of lines.
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter(|line| !line.contains(" |-")).map(|line| format!("{line}\n")).collect()
}
