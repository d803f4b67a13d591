//! A child process that cannot outlive the tests.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// Starts the program, tells its pid, and kills it once our end of standard input is closed: that
/// happens even when the test process is killed, and for servers kept in a `static`. It then
/// removes the folder too, unless it is to be kept; from there on it is not to be stopped by the
/// end of the program.
const GUARD: &str = r#"
root=$1; log=$2; keep=$3; shift 3
"$@" </dev/null >>"$log" 2>&1 &
pid=$!
echo "$pid"
exec >/dev/null
exec 3<&0
(
    cat <&3
    trap "" TERM
    kill -9 "$pid"
    [ -n "$keep" ] || { sleep 1; rm -rf -- "$root"; }
) 2>/dev/null &
guard=$!
wait "$pid"
code=$?
kill "$guard"
exit "$code"
"#;

/// How much of a log is shown when something fails.
const LOG_TAIL_BYTES: usize = 6_000;

/// A running server process and the file that its output goes to.
pub(crate) struct Process {
    name: String,
    guard: Child,
    /// Dropping it makes the guard kill the process.
    lifeline: Option<ChildStdin>,
    pid: Pid,
    log: PathBuf,
    log_start: usize,
}

impl Process {
    /// Starts `command`; its output is appended to `log`.
    pub(crate) fn spawn(name: &str, command: &Command, root: &Path, log: &Path) -> Self {
        let log_start = fs::metadata(log).map_or(0, |meta| meta.len() as usize);
        let keep = if std::env::var_os("OXMQ_COMPAT_KEEP").is_some() { "keep" } else { "" };
        let mut guarded = Command::new("sh");
        guarded.arg("-c").arg(GUARD).arg("guard").arg(root).arg(log).arg(keep);
        guarded.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(key, value),
                None => guarded.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            guarded.current_dir(dir);
        }
        let mut guard = guarded
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let mut line = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("pid from the guard");
        let lifeline = guard.stdin.take();
        Self { name: name.to_owned(), guard, lifeline, pid, log: log.to_owned(), log_start }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    /// Waits until this run of the process printed `text`.
    pub(crate) fn wait_for_output(&mut self, text: &str, limit: Duration) {
        let began = Instant::now();
        let found = wait::try_until(limit, || {
            if self.output().contains(text) {
                return Some(true);
            }
            self.guard.try_wait().unwrap().map(|_| self.output().contains(text))
        });
        match found {
            Some(true) => println!("{} printed {text:?} after {:.1?}", self.name, began.elapsed()),
            Some(false) => panic!("{} ended before {text:?}\n{}", self.name, self.log_tail()),
            None => panic!("{}: no {text:?} in {limit:?}\n{}", self.name, self.log_tail()),
        }
    }

    /// Kills the process as a power cut would: no signal handler runs.
    pub(crate) fn kill9(mut self) {
        self.signal(Signal::KILL);
        self.wait_for_exit(Duration::from_secs(10));
    }

    /// Asks the process to stop and waits until it is gone.
    pub(crate) fn stop(mut self, limit: Duration) {
        self.signal(Signal::TERM);
        self.wait_for_exit(limit);
    }

    fn signal(&mut self, signal: Signal) {
        // The guard reaps the process, so until the guard is gone the pid is not reused.
        if self.guard.try_wait().unwrap().is_none() {
            kill_process(self.pid, signal).ok();
        }
    }

    fn wait_for_exit(&mut self, limit: Duration) {
        let what = format!("the end of {}", self.name);
        wait::until(&what, limit, || self.guard.try_wait().unwrap());
    }

    /// What this run of the process printed so far.
    pub(crate) fn output(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.log_start..).unwrap_or_default()).into_owned()
    }

    fn log_tail(&self) -> String {
        // The reference's logging library tells its own start in hundreds of lines.
        let output: Vec<String> =
            self.output().lines().filter(|l| !l.contains(" |-")).map(str::to_owned).collect();
        let output = output.join("\n");
        let mut start = output.len().saturating_sub(LOG_TAIL_BYTES);
        while !output.is_char_boundary(start) {
            start += 1;
        }
        format!("--- {} ---\n{}", self.log.display(), &output[start..])
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        self.signal(Signal::KILL);
        self.guard.wait().ok();
        self.lifeline.take();
    }
}
