//! Names are bytes; what is told of them is text.

use std::fmt;

/// Bytes as text: those that are no UTF-8 as `\xNN`.
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            out.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_all_the_same() {
        assert_eq!(
            Escaped(b"/a/caf\xe9\xff/\xc3\xbc").to_string(),
            "/a/caf\\xe9\\xff/ü"
        );
    }
}
