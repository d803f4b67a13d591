//! What a log line looks like: fields of any length and content take one line of limited length.

use std::fmt;

use oxmq_protocol::shorten;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

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
            .with_ansi(false)
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
}
