//! Durations as the language writes them: a whole number and a unit.

use std::time::Duration;

/// What is accepted, for messages.
pub(crate) const ACCEPTED: &str =
    "a whole number with a unit (ms, s, m or h), from \"1ms\" to \"24h\"";

/// The units and their milliseconds, largest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// A longer wait is no deadline any more, and a shorter one than 1 ms no wait.
const LONGEST_MS: u64 = 24 * 3_600_000;

/// Parses "500ms", "30s", "2m", "1h".
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let milliseconds = number.parse::<u64>().ok()?.checked_mul(scale)?;
    (1..=LONGEST_MS)
        .contains(&milliseconds)
        .then(|| Duration::from_millis(milliseconds))
}

/// The shortest exact way to write a duration of whole milliseconds.
pub fn show(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let (unit, scale) = UNITS
        .into_iter()
        .find(|(_, scale)| milliseconds.is_multiple_of(u128::from(*scale)))
        .unwrap_or(("ms", 1));
    format!("{}{unit}", milliseconds / u128::from(scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_durations_are_shown_as_they_are_written() {
        for text in ["1ms", "500ms", "30s", "2m", "24h"] {
            let parsed = parse(text);
            assert_eq!(parsed.map(show).as_deref(), Some(text));
        }
        assert_eq!(parse("90s"), Some(Duration::from_secs(90)));
    }

    #[test]
    fn other_durations_are_refused() {
        let too_big = format!("{}h", u64::MAX);
        for text in [
            "", "30", "s", "30 s", " 30s", "30sec", "-1s", "1.5s", "0s", "25h", "30S", "3٣s",
            &too_big,
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
