//! Texts of peers, short enough for a log line or a remark.

use std::borrow::Cow;

use crate::limits::MAX_SHOWN_BYTES;

/// What of a long text stands before the gap; the rest of the room is for its end, where causes stand.
const HEAD_BYTES: usize = MAX_SHOWN_BYTES / 4 * 3;

/// Leaves out the middle of a text that is longer than [`MAX_SHOWN_BYTES`], and says how much that is.
///
/// A frame may hold a name of megabytes, which would stand whole in each log line and answer about it.
pub fn shorten(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_SHOWN_BYTES {
        return Cow::Borrowed(text);
    }
    let head = text.floor_char_boundary(HEAD_BYTES);
    let tail = text.ceil_char_boundary(text.len() - (MAX_SHOWN_BYTES - HEAD_BYTES));
    Cow::Owned(format!("{}...({} bytes)...{}", &text[..head], tail - head, &text[tail..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_within_the_limit_are_left_as_they_are() {
        for text in [String::new(), "topic".to_owned(), "n".repeat(MAX_SHOWN_BYTES)] {
            assert!(matches!(shorten(&text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn longer_ones_keep_their_beginning_and_their_end() {
        let text = format!("topic {} does not exist", "n".repeat(40_000));
        let short = shorten(&text);
        assert!(short.starts_with("topic nn") && short.ends_with("nn does not exist"), "{short}");
        assert!(short.contains(&format!("...({} bytes)...", text.len() - MAX_SHOWN_BYTES)));
        assert!(short.len() < MAX_SHOWN_BYTES + 32, "{}", short.len());
    }

    #[test]
    fn characters_are_not_cut() {
        for lead in 0..4 {
            let text = format!("{}{}", "n".repeat(lead), "\u{1f600}".repeat(MAX_SHOWN_BYTES));
            let short = shorten(&text);
            assert!(short.len() < MAX_SHOWN_BYTES + 32, "{}", short.len());
            assert!(short.ends_with('\u{1f600}'));
        }
    }
}
