//! What a log line looks like, and how many there are: peers decide neither.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use oxmq_protocol::shorten;
use oxmq_protocol::sync::lock;
use tracing::callsite::Identifier;
use tracing::field::Field;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Lines of one kind, written at one place of the code, in a second. More of them say nothing new, fill the
/// disk, and take time from whoever serves: a peer that begins with nonsense costs one, and may connect
/// thousands of times.
const MAX_LINES_A_SECOND: u32 = 50;

/// Writes fields as `name=value`, with a blank in between. Values are texts of peers, too: none is longer
/// than [`oxmq_protocol::limits::MAX_SHOWN_BYTES`], and none begins a line or steers a terminal.
pub(crate) fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(write_field).delimited(" ")
}

fn write_field(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(out, "{}=", field.name())?;
    }
    for letter in shorten(&format!("{value:?}")).chars() {
        match letter.is_control() {
            true => write!(out, "{}", letter.escape_default())?,
            false => out.write_char(letter)?,
        }
    }
    Ok(())
}

/// Writes at most [`MAX_LINES_A_SECOND`] lines of each kind, and then how many were left out. What is only for
/// whoever asks for it, `debug` and below, is written all.
pub(crate) struct Limited<F> {
    format: F,
    /// The second of each kind.
    seconds: Mutex<HashMap<Identifier, Second>>,
}

struct Second {
    began: Instant,
    lines: u32,
    left_out: u64,
}

impl Second {
    fn beginning(now: Instant) -> Self {
        Self { began: now, lines: 0, left_out: 0 }
    }

    /// Tells whether another line may be written, and how many were left out before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.began) >= Duration::from_secs(1) {
            (self.began, self.lines) = (now, 0);
        }
        if self.lines == MAX_LINES_A_SECOND {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl<F> Limited<F> {
    pub(crate) fn new(format: F) -> Self {
        Self { format, seconds: Mutex::default() }
    }

    fn admit(&self, kind: Identifier) -> Option<u64> {
        let now = Instant::now();
        let mut seconds = lock(&self.seconds);
        seconds.entry(kind).or_insert_with(|| Second::beginning(now)).admit(now)
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if *metadata.level() <= Level::INFO {
            match self.admit(metadata.callsite()) {
                None => return Ok(()),
                Some(0) => {}
                Some(left_out) => writeln!(out, "{left_out} lines like the next one left out")?,
            }
        }
        self.format.format_event(context, out, event)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(fields())
            .with_max_level(Level::DEBUG)
            .with_ansi(false)
            .map_event_format(Limited::new)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn fields_are_written_by_name_and_the_message_without() {
        let line = logged(|| tracing::info!(topic = "payments", queue_id = 3, "record skipped"));
        assert!(line.ends_with(": record skipped topic=\"payments\" queue_id=3\n"), "{line}");
    }

    #[test]
    fn long_text_of_a_peer_is_shortened_wherever_it_stands() {
        let long = "n".repeat(40_000);
        let line = logged(|| tracing::warn!(topic = long, error = %long, "bad request: {long}"));
        assert!(line.len() < 3 * 4_096 + 512, "{}", line.len());
        assert!(line.contains(" bytes)..."), "{line}");
    }

    #[test]
    fn text_of_a_peer_begins_no_line_and_steers_no_terminal() {
        let line = logged(|| tracing::warn!(error = %"a\n2026 INFO all is well\u{1b}[2J", "bad"));
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(!line.contains('\u{1b}') && line.contains("a\\n2026"), "{line}");
    }

    #[test]
    fn lines_of_one_kind_are_limited_and_those_of_others_go_on() {
        let text = logged(|| {
            (0..1_000).for_each(|_| tracing::warn!("bad peer"));
            tracing::warn!("disk full");
            (0..1_000).for_each(|_| tracing::debug!("detail"));
        });
        let count = |what: &str| text.lines().filter(|line| line.ends_with(what)).count();
        assert!((1..1_000).contains(&count("bad peer")), "{}", count("bad peer"));
        assert_eq!((count("disk full"), count("detail")), (1, 1_000));
    }

    #[test]
    fn next_second_begins_with_what_was_left_out() {
        let began = Instant::now();
        let mut second = Second::beginning(began);
        for _ in 0..MAX_LINES_A_SECOND {
            assert_eq!(second.admit(began), Some(0));
        }
        assert_eq!(second.admit(began + Duration::from_millis(999)), None);
        assert_eq!(second.admit(began + Duration::from_secs(1)), Some(1));
        assert_eq!(second.admit(began + Duration::from_secs(1)), Some(0));
    }
}
