//! Names of index files: their local time of creation, `yyyyMMddHHmmssSSS`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::local_time::TimeZone;

const NAME_DIGITS: usize = 17;

/// Whether a file of this name is an index file.
pub(super) fn is_index_name(name: &str) -> bool {
    name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The name of a new file: the current time, but in any case behind its predecessor's, because the
/// names give the order of the files and clocks and time zones change.
pub(crate) fn next_name(predecessor: Option<&Path>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let wall = TimeZone::local().wall_ms(i64::try_from(now).unwrap_or(0));
    let name = name_of(u64::try_from(wall).unwrap_or(0));
    let least = predecessor
        .and_then(|path| path.file_name()?.to_str()?.parse::<u64>().ok())
        .map_or(0, |last| last + 1);
    format!("{:0width$}", name.max(least), width = NAME_DIGITS)
}

/// `ms` since 1970 as a number whose decimal digits are the date and time.
fn name_of(ms: u64) -> u64 {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let date = (year * 100 + month) * 100 + day;
    ((date * 100 + hour) * 100 + minute) * 100_000 + in_day % 60_000
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Counts in years that begin in March, so that the leap day is the last of its year.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dates_and_times() {
        assert_eq!(name_of(0), 19_700_101_000_000_000);
        assert_eq!(name_of(951_782_400_000), 20_000_229_000_000_000);
        assert_eq!(name_of(1_700_000_000_123), 20_231_114_221_320_123);
    }

    #[test]
    fn successor_sorts_behind_its_predecessor() {
        let future = Path::new("index/29991231235959999");
        assert_eq!(next_name(Some(future)), "29991231235960000");
        assert!(is_index_name(&next_name(None)));
        assert!(!is_index_name("2999123123595999x"));
    }
}
