//! Durations as people write them.

use std::time::Duration;

/// Parses `30s`, `10m`, `1h30m`, or plain seconds.
///
/// # Errors
/// A text for the command line parser when it is none of them.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|err| format!("{err}; write 30s, 10m or 1h"))?;
    span.try_into()
        .map_err(|_| "a duration cannot be negative".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("90", 90), ("30s", 30), ("10m", 600), ("1h30m", 5400)] {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_secs(seconds),
                "{text}"
            );
        }
        for text in ["", "ten", "-5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
