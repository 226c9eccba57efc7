//! Globs on bytes: parsed once, then matched in linear time, on a few words of stack, without allocation or lock.
//!
//! Matching runs inside a stranger's `open`, perhaps in a signal handler, on paths that are bytes. The libraries for
//! globs don't do that: `glob` backtracks exponentially and takes UTF-8 only; `globset` and `wax` match by a regular
//! expression, whose scratch memory is allocated and locked at match time, and where `?` is one byte; `fast-glob`
//! reads braces and backslashes as syntax and reports no mistakes. Semantics are those of `glob`, whose tests are run
//! against this, but for bytes that are no UTF-8: each counts as one character.
//!
//! A path is a list of components, and so is a glob. A list with `**` in it, and a component with `*` in it, are
//! matched alike: go on as long as it fits; where it doesn't, let the last star take one more and try again from
//! there. No star before the last need be asked again: what follows the earlier one was found as far left as possible,
//! and leaves the later one the most. So each character of the glob meets each byte of the path at most once:
//! at most (length of the glob) x (length of the path) steps, both below 4,096.

/// The longest path that the kernel takes; a longer glob could match nothing.
const LONGEST: usize = 4095;

/// A glob that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any number of components; at the end, at least one.
    AnyDepth,
    Component(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// One byte of the text.
    Byte(u8),
    /// `?`
    AnyCharacter,
    /// `*`
    AnySequence,
    /// `[abc]`, `[a-z]`, and with `!` what is not in it.
    OneOf {
        ranges: Vec<(char, char)>,
        except: bool,
    },
}

/// What is wrong with a glob, and at which character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mistake {
    pub position: usize,
    pub message: &'static str,
}

impl Glob {
    pub fn parse(text: &str) -> Result<Glob, Mistake> {
        let mistake = |position, message| Err(Mistake { position, message });
        if text.len() > LONGEST {
            return mistake(0, "no path is as long as this");
        }
        let characters: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        let mut component = Vec::new();
        let mut at = 0;
        while let Some(&character) = characters.get(at) {
            let rest = &characters[at..];
            match character {
                '/' => parts.push(Part::Component(std::mem::take(&mut component))),
                '?' => component.push(Token::AnyCharacter),
                '[' => {
                    let Some((token, length)) = set(rest) else {
                        return mistake(at, "this set has no end");
                    };
                    component.push(token);
                    at += length - 1;
                }
                '*' => match rest.iter().take_while(|c| **c == '*').count() {
                    1 => component.push(Token::AnySequence),
                    2 => {
                        if !component.is_empty() {
                            return mistake(at - 1, "`**` is not a component of its own");
                        }
                        if rest.get(2).is_some_and(|c| *c != '/') {
                            return mistake(at + 2, "`**` is not a component of its own");
                        }
                        // Two in a row are one.
                        if parts.last() != Some(&Part::AnyDepth) {
                            parts.push(Part::AnyDepth);
                        }
                        if rest.len() <= 3 {
                            return Ok(Glob { parts });
                        }
                        at += 2;
                    }
                    _ => return mistake(at + 2, "there is nothing beyond `**`"),
                },
                character => {
                    let mut bytes = [0; 4];
                    let bytes = character.encode_utf8(&mut bytes).bytes();
                    component.extend(bytes.map(Token::Byte));
                }
            }
            at += 1;
        }
        parts.push(Part::Component(component));
        Ok(Glob { parts })
    }

    /// Whether all of the text is as the glob says.
    pub fn matches(&self, text: &[u8]) -> bool {
        // What is left of the text; None: not even an empty component.
        let mut left = Some(text);
        let mut part = 0;
        // The part behind the last `**`, and the text that it was tried on.
        let mut again: Option<(usize, &[u8])> = None;
        loop {
            match (self.parts.get(part), left) {
                (None, None) => return true,
                (Some(Part::AnyDepth), Some(here)) => {
                    part += 1;
                    if part == self.parts.len() {
                        return true;
                    }
                    again = Some((part, here));
                    continue;
                }
                (Some(Part::Component(tokens)), Some(here)) => {
                    let (component, behind) = first_component(here);
                    if component_matches(tokens, component) {
                        part += 1;
                        left = behind;
                        continue;
                    }
                }
                _ => {}
            }
            let Some((behind_stars, tried)) = again else {
                return false;
            };
            let Some(next) = first_component(tried).1 else {
                return false;
            };
            again = Some((behind_stars, next));
            part = behind_stars;
            left = Some(next);
        }
    }
}

/// A set and how many characters it takes. A `]` that comes first is one of it.
fn set(characters: &[char]) -> Option<(Token, usize)> {
    let except = characters.get(1) == Some(&'!');
    let start = 1 + usize::from(except);
    let end = characters.iter().skip(start + 1).position(|c| *c == ']')? + start + 1;
    let mut inside = characters.get(start..end)?;
    let mut ranges = Vec::new();
    while let [first, rest @ ..] = inside {
        (ranges, inside) = match rest {
            ['-', last, rest @ ..] => (pushed(ranges, (*first, *last)), rest),
            rest => (pushed(ranges, (*first, *first)), rest),
        };
    }
    Some((Token::OneOf { ranges, except }, end + 1))
}

fn pushed<T>(mut list: Vec<T>, item: T) -> Vec<T> {
    list.push(item);
    list
}

/// The text up to the first `/`, and what stands behind that.
fn first_component(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'/') {
        Some(end) => (&text[..end], Some(&text[end + 1..])),
        None => (text, None),
    }
}

fn component_matches(tokens: &[Token], text: &[u8]) -> bool {
    let (mut token, mut left) = (0, text);
    // The token behind the last `*`, and the text that it was tried on.
    let mut again: Option<(usize, &[u8])> = None;
    loop {
        let fits = match tokens.get(token) {
            None if left.is_empty() => return true,
            None => None,
            Some(Token::AnySequence) => {
                token += 1;
                if token == tokens.len() {
                    return true;
                }
                again = Some((token, left));
                continue;
            }
            Some(Token::Byte(byte)) => (left.first() == Some(byte)).then_some(1),
            Some(Token::AnyCharacter) => first_character(left).map(|(_, length)| length),
            Some(Token::OneOf { ranges, except }) => first_character(left)
                .filter(|(character, _)| {
                    let within = |c: char| ranges.iter().any(|(a, z)| (*a..=*z).contains(&c));
                    character.is_some_and(within) != *except
                })
                .map(|(_, length)| length),
        };
        if let Some(length) = fits {
            token += 1;
            left = &left[length..];
            continue;
        }
        let Some((behind_star, tried)) = again else {
            return false;
        };
        let Some((_, length)) = first_character(tried) else {
            return false;
        };
        left = &tried[length..];
        again = Some((behind_star, left));
        token = behind_star;
    }
}

/// The first character and its length. A byte that is no UTF-8 is one of no name.
fn first_character(text: &[u8]) -> Option<(Option<char>, usize)> {
    let first = *text.first()?;
    if first.is_ascii() {
        return Some((Some(char::from(first)), 1));
    }
    let window = &text[..text.len().min(4)];
    let valid = window.utf8_chunks().next()?.valid();
    Some(match valid.chars().next() {
        Some(character) => (Some(character), character.len_utf8()),
        None => (None, 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(glob: &str, text: impl AsRef<[u8]>) -> bool {
        Glob::parse(glob).unwrap().matches(text.as_ref())
    }

    #[test]
    fn stars_stay_and_double_stars_cross() {
        assert!(matches("/srv/*/log", "/srv/a/log"));
        assert!(!matches("/srv/*/log", "/srv/a/b/log"));
        assert!(matches("/srv/**/log", "/srv/log"));
        assert!(matches("/srv/**/log", "/srv/a/b/log"));
        assert!(matches("/srv/**", "/srv/.a/b"));
        assert!(!matches("/srv/**", "/srv"));
        assert!(!matches("/**/*.ibd", "/a.ibd/b"));
        assert!(matches("/**/a/**/a/b", "/a/a/a/b"));
        assert!(!matches("/", "") && !matches("/**", ""));
    }

    #[test]
    fn one_character_is_one_whatever_its_bytes() {
        assert!(matches("/?", "/ü") && !matches("/??", "/ü"));
        assert!(matches("/[ä-ü]", "/ö") && !matches("/*[!ü]", "/ü"));
        // A byte that is no UTF-8 is a character of its own, and in no set.
        assert!(matches("/caf?", b"/caf\xe9") && !matches("/caf??", b"/caf\xe9"));
        assert!(matches("/??", b"/\xe2\x82") && !matches("/?", b"/\xe2\x82"));
        assert!(matches("/[!a]", b"/\xe9") && !matches("/[a-\u{10ffff}]", b"/\xe9"));
        assert!(matches("/*\u{1a}*", b"/\x1a") && !matches("/*\u{1a}*", b"/\xe9"));
    }

    #[test]
    fn sets_are_ranges_and_may_hold_their_own_marks() {
        assert!(matches("/[]]", "/]") && matches("/[!]]", "/a") && !matches("/[!]]", "/]"));
        assert!(matches("/[a-]", "/-") && matches("/[[]", "/[") && matches("/[*]", "/*"));
        assert!(!matches("/a[/]b", "/a/b"));
    }

    #[test]
    fn mistakes_have_a_place() {
        for (glob, position) in [
            ("/a/**b", 5),
            ("/a**", 1),
            ("/***", 3),
            ("/ä/[x", 3),
            ("/[]", 1),
            ("/[!]", 1),
        ] {
            let found = Glob::parse(glob).unwrap_err().position;
            assert_eq!(found, position, "{glob}");
        }
        assert!(Glob::parse(&format!("/{}", "x".repeat(4095))).is_err());
    }

    /// The globs that take a backtracking matcher longer than anybody lives, each on a path as long as they come.
    #[test]
    fn no_glob_takes_long() {
        let deep = format!("{}/f", format!("/{}", "a".repeat(60)).repeat(66));
        let long = format!("/{}", "a".repeat(4000));
        let many = format!("/{}b", "a*".repeat(2000));
        let deeper = format!("{}/b", "/**/*a".repeat(600));
        for glob in [
            "/**/*a/**/*a/**/*a/**/*a/**/*ab",
            "/**/a*a*a*a*a*a*a*a*a*a*a*a*b",
            "/*?*?*?*?*?*?*?*?*?*?*?*?*b",
            &many,
            &deeper,
        ] {
            let glob = Glob::parse(glob).unwrap();
            let begun = std::time::Instant::now();
            assert!(!glob.matches(deep.as_bytes()) && !glob.matches(long.as_bytes()));
            // The bound is some 30 ms for the longest; much more for a busy machine.
            assert!(begun.elapsed().as_millis() < 2_000, "{:?}", begun.elapsed());
        }
    }

    /// Words of few characters, so that they match now and then.
    fn pieces(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
        let piece = proptest::sample::select(pieces);
        proptest::collection::vec(piece, 0..9).prop_map(|list| list.concat())
    }

    const OPTIONS: glob::MatchOptions = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() })]

        /// What is right, wrong and matched is what the crate `glob` says.
        #[test]
        fn as_the_crate_glob_has_it(
            pattern in pieces(&["a", "b", "ü", ".", "/", "/", "/**", "**/", "*", "?", "[ab]", "[!a]", "[ü-", "]"]),
            text in pieces(&["a", "b", "ü", ".", "/", "]", "[", "/a", "ab"]),
        ) {
            match (Glob::parse(&pattern), glob::Pattern::new(&pattern)) {
                (Ok(ours), Ok(theirs)) => {
                    prop_assert_eq!(ours.matches(text.as_bytes()), theirs.matches_with(&text, OPTIONS));
                }
                (Err(ours), Err(theirs)) => prop_assert_eq!(ours.position, theirs.pos),
                (ours, theirs) => prop_assert!(false, "{ours:?} against {theirs:?}"),
            }
        }

        /// A byte that is no UTF-8 is matched as a character that stands in no set would be.
        #[test]
        fn stray_bytes_are_characters(
            pattern in pieces(&["a", "b", "/", "/**", "**/", "*", "?", "[ab]", "[!a]"]),
            text in pieces(&["a", "b", "/", "~", "/a", "a~"]),
        ) {
            if let Ok(glob) = Glob::parse(&pattern) {
                let bytes: Vec<u8> = text.bytes().map(|b| if b == b'~' { 0xe9 } else { b }).collect();
                prop_assert_eq!(glob.matches(&bytes), glob.matches(text.as_bytes()));
            }
        }
    }
}
