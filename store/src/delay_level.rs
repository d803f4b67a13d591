//! Delay levels: words such as `10s 1m`, numbered from 1.

/// What a scheduled message of an unknown level waits, as in the reference.
const UNKNOWN_LEVEL_MS: i64 = 1_000;

/// The delay of each level.
///
/// Reference: `ScheduleMessageService.parseDelayLevel` (broker), 5.5.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels {
    delays_ms: Vec<i64>,
}

impl DelayLevels {
    /// Reads words separated by blanks: a number and one of `s`, `m`, `h`, `d`.
    ///
    /// Returns nothing when a word is something else, or there is none.
    pub fn parse(text: &str) -> Option<Self> {
        let word = |word: &str| {
            let unit = word.chars().next_back()?;
            let count: i64 = word[..word.len() - unit.len_utf8()].parse().ok()?;
            let unit_ms: i64 = match unit {
                's' => 1_000,
                'm' => 60_000,
                'h' => 3_600_000,
                'd' => 86_400_000,
                _ => return None,
            };
            count.checked_mul(unit_ms).filter(|delay| *delay >= 0)
        };
        let delays_ms = text.split_whitespace().map(word).collect::<Option<Vec<_>>>()?;
        (!delays_ms.is_empty()).then_some(Self { delays_ms })
    }

    /// The highest level.
    pub fn max_level(&self) -> i32 {
        self.delays_ms.len() as i32
    }

    /// Milliseconds that a message of `level` waits; levels over the highest count as the highest.
    pub fn delay_ms(&self, level: i32) -> i64 {
        let level = level.min(self.max_level());
        usize::try_from(level - 1)
            .ok()
            .and_then(|index| self.delays_ms.get(index).copied())
            .unwrap_or(UNKNOWN_LEVEL_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_numbered_from_one_and_capped() {
        let levels = DelayLevels::parse("1s 5s 2m 1h 1d").unwrap();
        assert_eq!(levels.max_level(), 5);
        assert_eq!(
            [1, 3, 5, 9].map(|level| levels.delay_ms(level)),
            [1_000, 120_000, 86_400_000, 86_400_000]
        );
        assert_eq!(levels.delay_ms(0), 1_000);
    }

    #[test]
    fn unknown_units_are_refused() {
        for text in ["1x", "s", "1s 2", "-1s", "\u{e9}", ""] {
            assert_eq!(DelayLevels::parse(text), None, "{text}");
        }
    }
}
