//! Java property files: the format of `broker.conf` and `namesrv.conf`.
//!
//! Bytes are ISO-8859-1. A line ends at CR, LF or both; `#` or `!` first makes it a comment; `\`
//! last joins the next line, whose leading blanks fall away. A key ends at the first `=`, `:` or
//! blank that is not escaped. `\u` and four hexadecimal digits are one UTF-16 unit, any other `\c` is `c`.
//!
//! Reference: `java.util.Properties.load(InputStream)`.

use crate::limits::MAX_PROPERTIES_FILE_BYTES;

/// One `key=value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Line that the entry starts on, from 1.
    pub line: usize,
    /// Key, unescaped.
    pub key: String,
    /// Value, unescaped, without trailing blanks.
    ///
    /// The reference keeps those blanks and then ignores a number that has one; nobody means that.
    pub value: String,
}

/// A file that cannot be read as properties.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// `\u` without four hexadecimal digits behind it.
    #[error("line {line}: \\u needs four hexadecimal digits")]
    Escape {
        /// Line of the entry, from 1.
        line: usize,
    },
    /// More bytes than any configuration has.
    #[error("a configuration of {0} bytes; at most {MAX_PROPERTIES_FILE_BYTES} are read")]
    TooLong(usize),
}

/// Reads all entries in file order. A key may repeat: the last one counts.
///
/// # Errors
/// When an escape is malformed or the file is longer than a configuration can be.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, PropertiesError> {
    if bytes.len() > MAX_PROPERTIES_FILE_BYTES {
        return Err(PropertiesError::TooLong(bytes.len()));
    }
    let mut lines = NaturalLines { rest: bytes, number: 0 };
    let mut entries = Vec::new();
    while let Some((line, start)) = lines.next_content() {
        entries.push(entry(line, &lines.rest_of(start))?);
    }
    Ok(entries)
}

/// Puts `changes` (key and value) in the place of the entries that there are, or behind the last
/// one. Comments, order and all other entries stay as they are.
///
/// # Errors
/// When [`parse`] would not read `bytes`, or would not read the outcome.
pub fn amend(bytes: &[u8], changes: &[(&str, &str)]) -> Result<Vec<u8>, PropertiesError> {
    let place_of = |key: &str| changes.iter().rposition(|(changed, _)| *changed == key);
    let write = |place: usize, out: &mut Vec<u8>| {
        let mut line = String::new();
        write_entry(changes[place].0, changes[place].1, &mut line);
        out.extend_from_slice(line.as_bytes());
    };
    let mut written = vec![false; changes.len()];
    let mut amended = Vec::with_capacity(bytes.len());
    // Whether the last entry would take in a line behind it.
    let mut goes_on = false;
    let mut lines = NaturalLines { rest: bytes, number: 0 };
    while !lines.rest.is_empty() {
        let start = bytes.len() - lines.rest.len();
        let entry = match lines.next_content_here() {
            Some((line, text)) => Some(entry(line, &lines.rest_of(text))?),
            None => None,
        };
        let is_entry = entry.is_some();
        match entry.and_then(|entry| place_of(&entry.key)) {
            None => {
                let kept = &bytes[start..bytes.len() - lines.rest.len()];
                amended.extend_from_slice(kept);
                goes_on = is_entry && ends_in_continuation(without_line_end(kept));
            }
            // Of a key that repeats, the last one counts: the change is the only one left.
            Some(place) if written[place] => {}
            Some(place) => {
                write(place, &mut amended);
                written[place] = true;
            }
        }
    }
    if !matches!(amended.last(), None | Some(b'\n' | b'\r')) {
        amended.push(b'\n');
    }
    if goes_on {
        amended.push(b'\n');
    }
    for (place, (key, _)) in changes.iter().enumerate() {
        if !written[place] && place_of(key) == Some(place) {
            write(place, &mut amended);
        }
    }
    if amended.len() > MAX_PROPERTIES_FILE_BYTES {
        return Err(PropertiesError::TooLong(amended.len()));
    }
    Ok(amended)
}

/// Writes one entry so that [`parse`] reads it back.
pub fn write_entry(key: &str, value: &str, out: &mut String) {
    let escape = |text: &str, is_key: bool, out: &mut String| {
        let last = text.encode_utf16().count().saturating_sub(1);
        for (index, unit) in text.encode_utf16().enumerate() {
            match char::from_u32(unit.into()) {
                Some('\\') => out.push_str("\\\\"),
                Some('\n') => out.push_str("\\n"),
                Some('\r') => out.push_str("\\r"),
                Some('\t') => out.push_str("\\t"),
                Some('\u{c}') => out.push_str("\\f"),
                Some(' ') if is_key || index == 0 || index == last => out.push_str("\\ "),
                Some(c @ ('=' | ':' | '#' | '!')) if is_key => out.extend(['\\', c]),
                Some(c @ ' '..='~') => out.push(c),
                _ => out.push_str(&format!("\\u{unit:04X}")),
            }
        }
    };
    escape(key, true, out);
    out.push('=');
    escape(value, false, out);
    out.push('\n');
}

struct NaturalLines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> NaturalLines<'a> {
    fn next_line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let end = self.rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let Some(end) = end else { return Some(std::mem::take(&mut self.rest)) };
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix(b"\r\n").unwrap_or(&rest[1..]);
        Some(line)
    }

    /// The next line that is neither blank nor a comment, without its leading blanks.
    fn next_content(&mut self) -> Option<(usize, &'a [u8])> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            if let Some(content) = self.next_content_here() {
                return Some(content);
            }
        }
    }

    /// The next line without its leading blanks, if it is neither blank nor a comment.
    fn next_content_here(&mut self) -> Option<(usize, &'a [u8])> {
        let line = trim_blanks(self.next_line()?);
        (!matches!(line.first(), None | Some(b'#' | b'!'))).then_some((self.number, line))
    }

    /// The whole of an entry that begins with `start`, which ends where this goes on.
    fn rest_of(&mut self, start: &[u8]) -> Vec<u8> {
        let mut text = start.to_vec();
        let mut part = start;
        // Without the last one, what is in front of a part ends in an even number of backslashes.
        while ends_in_continuation(part) {
            text.pop();
            let Some(next) = self.next_line() else { break };
            part = trim_blanks(next);
            text.extend_from_slice(part);
        }
        text
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

fn trim_blanks(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|&byte| !is_blank(byte)).unwrap_or(line.len());
    &line[start..]
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let ends: [&[u8]; 3] = [b"\r\n", b"\n", b"\r"];
    ends.iter().find_map(|end| line.strip_suffix(*end)).unwrap_or(line)
}

fn ends_in_continuation(text: &[u8]) -> bool {
    text.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

fn entry(line: usize, text: &[u8]) -> Result<Entry, PropertiesError> {
    let mut escaped = false;
    let key_end = text.iter().position(|&byte| {
        let ends = !escaped && (is_blank(byte) || matches!(byte, b'=' | b':'));
        escaped = !escaped && byte == b'\\';
        ends
    });
    let (key, rest) = text.split_at(key_end.unwrap_or(text.len()));
    let rest = trim_blanks(rest);
    let rest = match rest.first() {
        Some(b'=' | b':') => trim_blanks(&rest[1..]),
        _ => rest,
    };
    let mut value_end = rest.iter().rposition(|&byte| !is_blank(byte)).map_or(0, |last| last + 1);
    // A blank behind a backslash is meant.
    if ends_in_continuation(&rest[..value_end]) {
        value_end = rest.len().min(value_end + 1);
    }
    Ok(Entry { line, key: unescape(line, key)?, value: unescape(line, &rest[..value_end])? })
}

fn unescape(line: usize, text: &[u8]) -> Result<String, PropertiesError> {
    let mut units = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        match bytes.next() {
            Some(b'u') => {
                let mut unit = 0;
                for _ in 0..4 {
                    let digit = bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                    let digit = digit.ok_or(PropertiesError::Escape { line })?;
                    unit = (unit << 4) | u16::try_from(digit).unwrap_or_default();
                }
                units.push(unit);
            }
            Some(b't') => units.push(0x09),
            Some(b'n') => units.push(0x0a),
            Some(b'f') => units.push(0x0c),
            Some(b'r') => units.push(0x0d),
            Some(other) => units.push(u16::from(other)),
            None => {}
        }
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &[u8]) -> Vec<(usize, String, String)> {
        parse(text).unwrap().into_iter().map(|e| (e.line, e.key, e.value)).collect()
    }

    fn pair(line: usize, key: &str, value: &str) -> (usize, String, String) {
        (line, key.to_owned(), value.to_owned())
    }

    #[test]
    fn escaped_blank_at_the_end_of_a_value_stays() {
        let entries = parse(b"a=b \\ \t\nc=d\\\t").unwrap();
        let values: Vec<_> = entries.iter().map(|entry| entry.value.as_str()).collect();
        assert_eq!(values, ["b  ", "d\t"]);
        let mut text = String::new();
        write_entry("a", "b  ", &mut text);
        assert_eq!(text, "a=b \\ \n");
        assert_eq!(parse(text.as_bytes()).unwrap()[0].value, "b  ");
    }

    #[test]
    fn separators_comments_and_blank_lines_are_read_as_java_reads_them() {
        let text = b"# c\n! c\r\n\n  a = 1\nb:2\rc 3\nd\t:\t4\ne\n f==5\ng = #6\n";
        assert_eq!(
            pairs(text),
            [
                pair(4, "a", "1"),
                pair(5, "b", "2"),
                pair(6, "c", "3"),
                pair(7, "d", "4"),
                pair(8, "e", ""),
                pair(9, "f", "=5"),
                pair(10, "g", "#6"),
            ]
        );
    }

    #[test]
    fn continuation_joins_lines_and_counts_backslashes() {
        assert_eq!(
            pairs(b"a = x\\\n   y\\\r\n\tz\nb = c:\\\\\nd = 1\\"),
            [pair(1, "a", "xyz"), pair(4, "b", "c:\\"), pair(5, "d", "1")]
        );
    }

    #[test]
    fn many_backslashes_are_counted_once() {
        // Counting all of them anew for each line would take minutes.
        let half = MAX_PROPERTIES_FILE_BYTES / 4;
        let text = ["a=", &"\\\\".repeat(half / 2), "\\\n", &"\\\n".repeat(half)].concat();
        let entries = parse(text.as_bytes()).unwrap();
        assert_eq!(entries[0].value.len(), half / 2);
        assert_eq!(entries.len(), 1);
    }

    #[test]
    fn comment_sign_in_a_continuation_is_text() {
        assert_eq!(pairs(b"a = 1\\\n# not a comment"), [pair(1, "a", "1# not a comment")]);
    }

    #[test]
    fn escapes_and_latin_1_become_text() {
        assert_eq!(
            pairs(b"a\\ b\\=c = \\u00e4\\uD83D\\uDE00\xe9\\t|\n"),
            [pair(1, "a b=c", "\u{e4}\u{1f600}\u{e9}\t|")]
        );
    }

    #[test]
    fn trailing_blanks_of_a_value_fall_away() {
        assert_eq!(pairs(b"listenPort = 10911 \t\n"), [pair(1, "listenPort", "10911")]);
    }

    #[test]
    fn malformed_unicode_escape_names_its_line() {
        assert_eq!(parse(b"a=1\nb=\\u12"), Err(PropertiesError::Escape { line: 2 }));
    }

    #[test]
    fn file_over_the_limit_is_refused() {
        let long = vec![b'#'; MAX_PROPERTIES_FILE_BYTES + 1];
        assert_eq!(parse(&long), Err(PropertiesError::TooLong(long.len())));
    }

    #[test]
    fn amended_file_keeps_what_is_not_changed_and_a_change_once() {
        let text = b"# mine\r\na = 1\nb=x\\\n  y\n\n b:2\nc=3";
        let changes = [("d", "5"), ("b", "0"), ("d", "6"), ("b", "4")];
        let amended = amend(text, &changes).unwrap();
        assert_eq!(amended, b"# mine\r\na = 1\nb=4\n\nc=3\nd=6\n");
        assert_eq!(amend(b"", &[("a", "1")]).unwrap(), b"a=1\n");
        let full = vec![b'#'; MAX_PROPERTIES_FILE_BYTES];
        assert!(matches!(amend(&full, &[("a", "1")]), Err(PropertiesError::TooLong(_))));
    }

    #[test]
    fn added_entry_does_not_continue_a_last_one_that_ends_in_a_backslash() {
        for text in [&b"a=1\\"[..], b"a=1\\\n", b"a=1\\\r\n", b"# c\na=\\\n 1\\\n", b"a=1\\\n\n"] {
            let amended = amend(text, &[("b", "2")]).unwrap();
            let last = parse(text).unwrap().remove(0);
            let read = pairs(&amended);
            assert_eq!(read.len(), 2, "{}", text.escape_ascii());
            assert_eq!(read[0], pair(last.line, "a", "1"));
            assert_eq!((read[1].1.as_str(), read[1].2.as_str()), ("b", "2"));
        }
        assert_eq!(amend(b"a=1\\", &[("a", "2"), ("b", "3")]).unwrap(), b"a=2\nb=3\n");
    }

    #[test]
    fn written_entries_are_read_back() {
        let entries = [("a b", " x"), ("#k", "c:\\d\n"), ("u", "\u{e4}\u{1f600}")];
        let mut text = String::new();
        for (key, value) in entries {
            write_entry(key, value, &mut text);
        }
        let read: Vec<_> =
            parse(text.as_bytes()).unwrap().into_iter().map(|e| (e.key, e.value)).collect();
        assert_eq!(read, entries.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
