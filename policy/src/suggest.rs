//! "Did you mean": the nearest of the accepted words.

/// The accepted word nearest to `given`, if it is near enough to be meant.
pub(crate) fn nearest<'a>(given: &str, accepted: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase();
    // Hyphens for underscores and capitals are slips that should never cost the hint.
    let given = given.replace('-', "_");
    accepted
        .iter()
        .map(|word| (strsim::osa_distance(&given, word), *word))
        .filter(|(distance, word)| *distance <= (word.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let keys = ["mode", "isolation", "on_lock_timeout"];
        assert_eq!(nearest("isolaton", &keys), Some("isolation"));
        assert_eq!(nearest("modes", &keys), Some("mode"));
        assert_eq!(nearest("On-Lock-Timeuot", &keys), Some("on_lock_timeout"));
        assert_eq!(nearest("colour", &keys), None);
        assert_eq!(nearest("", &keys), None);
    }
}
