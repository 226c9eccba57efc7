//! Names are bytes; what is told of them is text.

use std::fmt;

/// Bytes as text, on one line and without a word to the terminal: what is no UTF-8, and what steers a terminal or turns text
/// round, byte by byte as `\xNN`.
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(at) = rest.find(steers) {
                let (plain, from) = rest.split_at(at);
                out.write_str(plain)?;
                let length = from.chars().next().map_or(from.len(), char::len_utf8);
                let (steering, behind) = from.split_at(length);
                escape(steering.as_bytes(), out)?;
                rest = behind;
            }
            out.write_str(rest)?;
            escape(chunk.invalid(), out)?;
        }
        Ok(())
    }
}

fn escape(bytes: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes
        .iter()
        .try_for_each(|byte| write!(out, "\\x{byte:02x}"))
}

/// Control characters, line ends of other scripts, and what makes text go from right to left.
fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control()
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

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(
            Escaped("a\x1b[31m\nb\t\u{7f}\u{9b}ü\u{202e}".as_bytes()).to_string(),
            "a\\x1b[31m\\x0ab\\x09\\x7f\\xc2\\x9bü\\xe2\\x80\\xae"
        );
        assert_eq!(Escaped(b"\n\xff\n").to_string(), "\\x0a\\xff\\x0a");
    }
}
