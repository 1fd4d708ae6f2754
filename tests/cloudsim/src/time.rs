//! How the services write instants. Time comes in as milliseconds since 1970 (UTC), always from the caller.

/// Year, month, day, hour, minute, second, weekday (0 = Sunday) of an instant.
fn civil(ms: u64) -> (i64, u64, u64, u64, u64, u64, u64) {
    let seconds = ms / 1000;
    let days = (seconds / 86_400) as i64;
    // Howard Hinnant's algorithm: days since 1970-01-01 to a date of the proleptic Gregorian calendar.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u64;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u64;
    let year = yoe + era * 400 + i64::from(month <= 2);
    let of_day = seconds % 86_400;
    (year, month, day, of_day / 3600, of_day / 60 % 60, of_day % 60, (days + 4).rem_euclid(7) as u64)
}

/// `2026-11-22T12:07:49Z`
pub(crate) fn seconds_z(ms: u64) -> String {
    plain(ms) + "Z"
}

/// `2026-11-22T12:07:46.000000Z`, as in Keystone's tokens (whole seconds).
pub(crate) fn keystone(ms: u64) -> String {
    plain(ms) + ".000000Z"
}

/// `2026-11-22T12:07:49.000000`, as Nova's database columns (whole seconds).
pub(crate) fn column(ms: u64) -> String {
    plain(ms) + ".000000"
}

/// `2026-11-22T12:08:04.875000`
pub(crate) fn micros(ms: u64) -> String {
    format!("{}.{:03}000", plain(ms), ms % 1000)
}

/// `Sun, 22 Nov 2026 12:07:48 GMT`
pub(crate) fn http_date(ms: u64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, hour, minute, second, weekday) = civil(ms);
    let mut text = String::with_capacity("Sun, 22 Nov 2026 12:07:48 GMT".len());
    text.push_str(DAYS[weekday as usize]);
    text.push_str(", ");
    two_digits(&mut text, day);
    text.push(' ');
    text.push_str(MONTHS[month as usize - 1]);
    text.push(' ');
    two_digits(&mut text, year as u64 / 100);
    two_digits(&mut text, year as u64 % 100);
    for (before, part) in [(' ', hour), (':', minute), (':', second)] {
        text.push(before);
        two_digits(&mut text, part);
    }
    text + " GMT"
}

fn plain(ms: u64) -> String {
    let (year, month, day, hour, minute, second, _) = civil(ms);
    let mut text = String::with_capacity("2026-11-22T12:07:46.000000Z".len());
    for part in [year as u64 / 100, year as u64 % 100, month, day, hour, minute, second] {
        match text.len() {
            4 | 7 => text.push('-'),
            10 => text.push('T'),
            13 | 16 => text.push(':'),
            _ => {}
        }
        two_digits(&mut text, part);
    }
    text
}

/// Not by a formatter, which takes its time: every answer holds several instants.
fn two_digits(text: &mut String, number: u64) {
    text.push(char::from(b'0' + (number / 10 % 10) as u8));
    text.push(char::from(b'0' + (number % 10) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_the_services_write_them() {
        let ms = 1_795_349_268_875;
        assert_eq!(seconds_z(ms), "2026-11-22T12:07:48Z");
        assert_eq!(keystone(ms), "2026-11-22T12:07:48.000000Z");
        assert_eq!(micros(ms), "2026-11-22T12:07:48.875000");
        assert_eq!(http_date(ms), "Sun, 22 Nov 2026 12:07:48 GMT");
        assert_eq!(seconds_z(951_782_400_000), "2000-02-29T00:00:00Z");
    }
}
