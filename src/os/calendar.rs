//! Dates and times of day.

use std::time::SystemTime;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment on the clock of the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970 began, in local time.
    seconds: i64,
}

/// A date of the Gregorian calendar.
#[derive(Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    /// From 0.
    month: usize,
    /// From 1.
    day: i64,
    /// From 0.
    day_of_year: i64,
    /// From 0, which is Sunday.
    weekday: i64,
}

impl Moment {
    /// Now, in the local time zone. Where the environment sets `SOURCE_DATE_EPOCH`, it is now that many seconds after 1970
    /// began, in UTC, so that a run can be repeated on another day.
    pub fn now() -> Moment {
        let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
        epoch.map_or_else(Self::by_clock, Self::utc)
    }

    /// `seconds` seconds after 1970 began, in UTC.
    pub const fn utc(seconds: u32) -> Moment {
        Moment { seconds: seconds as i64 }
    }

    fn by_clock() -> Moment {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(0);
        Moment { seconds: seconds.saturating_add(super::sys::utc_offset(seconds)) }
    }

    /// `format` with its directives (`%d`, `%-d`, `%B`, ...) replaced as by Python's `datetime.strftime` without a locale and
    /// without a time zone. Fails with the directive that is not known.
    pub fn format(self, format: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = format.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = rest.next().unwrap_or('%');
            let bare = directive == '-';
            if bare {
                directive = rest.next().unwrap_or('-');
            }
            let text = self.directive(directive).ok_or_else(|| format!("strftime_now does not know %{directive}"))?;
            out += if bare && text.len() > 1 { text[..text.len() - 1].trim_start_matches(['0', ' ']) } else { "" };
            out += if bare && text.len() > 1 { &text[text.len() - 1..] } else { &text };
        }
        Ok(out)
    }

    fn directive(self, directive: char) -> Option<String> {
        let date = Date::of_day(self.seconds.div_euclid(86_400));
        let of_day = self.seconds.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let two = |n: i64| format!("{n:02}");
        let (day, month) = (DAYS[date.weekday as usize], MONTHS[date.month]);
        Some(match directive {
            'a' => day[..3].into(),
            'A' => day.into(),
            'w' => date.weekday.to_string(),
            'u' => (if date.weekday == 0 { 7 } else { date.weekday }).to_string(),
            'd' => two(date.day),
            'e' => format!("{:2}", date.day),
            'b' | 'h' => month[..3].into(),
            'B' => month.into(),
            'm' => two(date.month as i64 + 1),
            'y' => two(date.year.rem_euclid(100)),
            'Y' => date.year.to_string(),
            'C' => two(date.year.div_euclid(100)),
            'H' => two(hour),
            'I' => two((hour + 11) % 12 + 1),
            'p' => (if hour < 12 { "AM" } else { "PM" }).into(),
            'M' => two(minute),
            'S' => two(second),
            'f' => "000000".into(),
            'j' => format!("{:03}", date.day_of_year + 1),
            'U' => two((date.day_of_year + 7 - date.weekday) / 7),
            'W' => two((date.day_of_year + 7 - (date.weekday + 6) % 7) / 7),
            'c' => self.format("%a %b %e %H:%M:%S %Y").ok()?,
            'x' | 'D' => self.format("%m/%d/%y").ok()?,
            'X' | 'T' => self.format("%H:%M:%S").ok()?,
            'F' => self.format("%Y-%m-%d").ok()?,
            'R' => self.format("%H:%M").ok()?,
            'r' => self.format("%I:%M:%S %p").ok()?,
            'z' | 'Z' => String::new(),
            'n' => "\n".into(),
            't' => "\t".into(),
            '%' => "%".into(),
            _ => return None,
        })
    }
}

impl Date {
    /// The date `days` days after 1970 began. Years are counted from the 1st of March, so that the day that is not in every
    /// year is the last of one, and in turns of 400 years, which are of one length.
    fn of_day(days: i64) -> Date {
        let since_march_of_0 = days + 719_468;
        let (turn, day) = (since_march_of_0.div_euclid(146_097), since_march_of_0.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // Five months from March, and five from August, have 153 days.
        let month = (5 * day + 2) / 153;
        let of_month = day - (153 * month + 2) / 5;
        let after_new_year = month >= 10;
        let year = turn * 400 + year + i64::from(after_new_year);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let day_of_year = if after_new_year { day - 306 } else { day + 59 + i64::from(leap) };
        Date {
            year,
            month: ((month + 2) % 12) as usize,
            day: of_month + 1,
            day_of_year,
            weekday: (days + 4).rem_euclid(7),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded by tests/fixtures/make_strftime.py.
    #[test]
    fn dates_are_those_of_python() {
        let all = "%a %A %w %d %b %B %m %y %Y %H %I %p %M %S %j %U %W %-d %-m %-H %e|%c|%x|%X|%F|%T|%D|%R|%u|%%";
        let cases = include_str!("../../tests/fixtures/strftime.txt");
        let mut n = 0;
        for case in cases.lines() {
            let (seconds, expected) = case.split_once('\t').expect("two columns");
            let seconds = seconds.parse().expect("a number");
            assert_eq!(Moment::utc(seconds).format(all).as_deref(), Ok(expected), "{seconds}");
            n += 1;
        }
        assert!(n >= 40, "{n}");
    }

    #[test]
    fn what_is_no_directive_is_named() {
        let moment = Moment::utc(0);
        assert_eq!(moment.format("at 5 % é"), Err("strftime_now does not know % ".into()));
        assert_eq!(moment.format("%Q"), Err("strftime_now does not know %Q".into()));
        assert_eq!(moment.format("100%").as_deref(), Ok("100%"));
        assert_eq!(moment.format("%-").as_deref(), Err(&"strftime_now does not know %-".to_owned()));
    }

    #[test]
    fn days_follow_one_another() {
        let mut before = Date::of_day(-800_000);
        for days in -799_999..800_000 {
            let date = Date::of_day(days);
            let next_day = date.day == before.day + 1 && date.month == before.month && date.year == before.year;
            let next_month = date.day == 1 && date.month == (before.month + 1) % 12 && before.day >= 28;
            assert!(next_day || next_month, "{before:?}, then {date:?}");
            assert_eq!(date.year, before.year + i64::from(next_month && date.month == 0), "{date:?}");
            let of_year = if date.month == 0 && date.day == 1 { 0 } else { before.day_of_year + 1 };
            assert_eq!(date.day_of_year, of_year, "{date:?}");
            before = date;
        }
    }
}
