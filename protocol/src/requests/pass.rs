//! What a pass over several writes has found out that are given to the kernel together. It waits for nobody, and what
//! one of them holds it holds until the pass is over: so not every one needs a look at the file.

#[derive(Default)]
pub struct Pass {
    /// The number that was looked at last, and its word; no word is 0.
    fd: i32,
    seen: u64,
    /// So far the file reaches: a range up to here is held, and was in the file. Who cuts it off waits for that (P3).
    reaches: u64,
}

impl Pass {
    fn has_seen(&self, fd: i32, seen: u64) -> bool {
        (self.fd, self.seen) == (fd, seen)
    }

    /// So far the file reaches at least that the number stands for: a write that ends there may do without a look.
    pub fn reaches(&self, fd: i32, seen: u64) -> u64 {
        match self.has_seen(fd, seen) {
            true => self.reaches,
            false => 0,
        }
    }

    /// The file was looked at, and had this size under a range that is held up to this byte.
    pub fn looked(&mut self, fd: i32, seen: u64, last: u64, size: u64) {
        let before = self.reaches(fd, seen);
        let end = last.checked_add(1).filter(|end| *end <= size);
        let reaches = before.max(end.unwrap_or(0));
        *self = Pass { fd, seen, reaches };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FD: i32 = 5;
    const WORD: u64 = 77;
    const LEN: u64 = 4096;

    #[test]
    fn a_write_needs_a_look_unless_more_of_the_file_is_held() {
        let mut pass = Pass::default();
        assert_eq!(pass.reaches(FD, WORD), 0);
        pass.looked(FD, WORD, 4 * LEN - 1, 100 * LEN);
        // Beyond that somebody may have cut the file off.
        assert_eq!(pass.reaches(FD, WORD), 4 * LEN);
        pass.looked(FD, WORD, LEN - 1, 100 * LEN);
        assert_eq!(pass.reaches(FD, WORD), 4 * LEN);
        assert_eq!(
            pass.reaches(FD, WORD + 1),
            0,
            "the number stands for something else"
        );
        pass.looked(FD, WORD + 1, LEN - 1, 100 * LEN);
        assert_eq!(pass.reaches(FD, WORD + 1), LEN);
    }

    #[test]
    fn what_is_held_beyond_the_end_says_nothing() {
        let mut pass = Pass::default();
        pass.looked(FD, WORD, 8 * LEN - 1, 8 * LEN - 1);
        pass.looked(FD, WORD, u64::MAX, u64::MAX);
        assert_eq!(pass.reaches(FD, WORD), 0);
    }
}
