//! Slices of one track nest: one that begins inside another ends there, or a viewer shows it elsewhere or not at all. What
//! is told is when a wait ended and how long it took; so ends of several are cut, by as little as the clock was read later.

/// The ends of those that are open on a track, the innermost last.
#[derive(Debug, Default)]
pub struct Nest(Vec<u64>);

impl Nest {
    /// Where a slice really ends that begins there. They come in the order of their beginnings.
    pub fn end(&mut self, begin: u64, end: u64) -> u64 {
        while self.0.last().is_some_and(|open| *open <= begin) {
            self.0.pop();
        }
        let end = self.0.last().map_or(end, |open| end.min(*open));
        self.0.push(end);
        end
    }
}

#[cfg(test)]
mod tests {
    use super::Nest;

    #[test]
    fn what_begins_inside_ends_there() {
        let mut nest = Nest::default();
        assert_eq!(nest.end(10, 20), 20);
        assert_eq!(nest.end(15, 25), 20);
        assert_eq!(nest.end(16, 18), 18);
        assert_eq!(nest.end(17, 19), 18);
        assert_eq!(nest.end(18, 30), 20);
        assert_eq!(nest.end(20, 30), 30);
        assert_eq!(nest.end(30, 40), 40);
    }
}
