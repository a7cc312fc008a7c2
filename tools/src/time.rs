//! Times on the command line.

use std::time::Duration;

/// Longest time that can be asked for: a year.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);

/// A time with its unit, more than nothing.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() && time <= DURATION_MAX => Ok(time),
        Ok(_) => Err("give more than nothing and at most a year".to_owned()),
        Err(error) => Err(format!("{error}; give a number and a unit, such as 60s or 50ms")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "5", "0s", "-1s", "3 lightyears", "400days"] {
            assert!(parse_time(text).is_err(), "{text:?} was accepted");
        }
    }
}
