//! "Did you mean": the nearest of the accepted words.

/// The accepted word nearest to `given`, if it is near enough to be meant.
pub(crate) fn nearest<'a>(given: &str, accepted: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase();
    // Hyphens for underscores and capitals are slips that should never cost the hint.
    let given = given.replace('-', "_");
    accepted
        .iter()
        .map(|word| (distance(&given, word), *word))
        .filter(|(distance, word)| *distance <= (word.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    // The first row and column hold the cost of starting from nothing; the rest is overwritten.
    let mut rows: Vec<Vec<usize>> = (0..=from.len())
        .map(|i| (i..=i + to.len()).collect())
        .collect();
    for i in 1..=from.len() {
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[from.len()][to.len()]
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
