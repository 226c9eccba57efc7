//! Short texts built on the stack: no allocation, and what doesn't fit is cut.

use core::ffi::CStr;
use core::fmt::{self, Write};

/// Room that is kept for [`Text::finish`].
const TAIL: usize = 8;

pub struct Text<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Text<N> {
    pub fn new() -> Self {
        Text {
            bytes: [0; N],
            used: 0,
        }
    }

    pub fn of(what: fmt::Arguments) -> Self {
        let mut text = Self::new();
        let _ = text.write_fmt(what);
        text
    }

    pub fn len(&self) -> usize {
        self.used
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or(&[])
    }

    pub fn as_str(&self) -> &str {
        match core::str::from_utf8(self.as_bytes()) {
            Ok(text) => text,
            // Cut in the middle of a character.
            Err(error) => {
                core::str::from_utf8(self.as_bytes().get(..error.valid_up_to()).unwrap_or(&[]))
                    .unwrap_or("")
            }
        }
    }

    /// As a C string: the rest of the buffer is zero.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }

    /// A tail that is written whatever was cut before.
    pub fn finish(&mut self, tail: &str) {
        self.put(tail, N.saturating_sub(1));
    }

    fn put(&mut self, text: &str, limit: usize) {
        let take = text.len().min(limit.saturating_sub(self.used));
        if let (Some(to), Some(from)) = (
            self.bytes.get_mut(self.used..self.used + take),
            text.as_bytes().get(..take),
        ) {
            to.copy_from_slice(from);
            self.used += take;
        }
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text, N.saturating_sub(TAIL));
        Ok(())
    }
}

/// A text written into somebody's buffer: what doesn't fit is cut, and a zero always follows.
pub struct Line<'a> {
    to: &'a mut [u8],
    used: usize,
}

impl<'a> Line<'a> {
    pub fn new(to: &'a mut [u8]) -> Line<'a> {
        Line { to, used: 0 }
    }

    /// How long it has become.
    pub fn end(self) -> usize {
        if let Some(end) = self.to.get_mut(self.used) {
            *end = 0;
        }
        self.used
    }
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.to.len().saturating_sub(1).saturating_sub(self.used);
        let take = text.len().min(room);
        if let (Some(to), Some(from)) = (
            self.to.get_mut(self.used..self.used + take),
            text.as_bytes().get(..take),
        ) {
            to.copy_from_slice(from);
            self.used += take;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_but_always_ends() {
        let mut text = Text::<32>::of(format_args!("{}", "é".repeat(40)));
        assert_eq!(text.len(), 24);
        text.finish("\"}\n");
        assert!(text.as_bytes().ends_with(b"\"}\n"));
        assert_eq!(text.as_c_str().to_bytes(), text.as_bytes());
        let odd = Text::<16>::of(format_args!("1234567é"));
        assert_eq!(odd.as_str(), "1234567");
    }
}
