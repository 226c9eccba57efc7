//! Whatever a policy file holds, the answer is a policy or an error, and never a panic: the
//! library parses it inside somebody's program.

use policy::Policy;

const SAMPLE: &str = r#"table = "/dev/shm/löcks"
[defaults]
mode = "enforce"
lock_timeout = "30s"
follow_exec = true
[[rule]]
name = "innodb"
path = ["/var/**/*.ibd", "/[a-z]/é?"]
program = ["mariadbd", 'maria*']
filesystem = ["ext4", "xfs"]
isolation = "atomic"
"#;

/// Pieces that have a meaning somewhere.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "\"",
    "'",
    "=",
    ",",
    "\n",
    "\t",
    "{",
    "}",
    "**",
    "*",
    "[*",
    "/",
    "..",
    "é",
    "\u{0}",
    "#",
    "\\",
    "\"\"\"",
    "1",
    "-",
    ".",
    "30s",
    "true",
    "rule",
    "mode",
    "defaults",
    "name",
    "99999999999999999999h",
];

/// xorshift64: the same policies in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn mutate(text: &str, numbers: &mut Numbers) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..=numbers.below(3) {
        let place = numbers.below(characters.len());
        match numbers.below(3) {
            0 => drop(characters.remove(place)),
            1 => {
                let end = (place + numbers.below(20)).min(characters.len());
                characters.drain(place..end);
            }
            _ => {
                let piece = PIECES[numbers.below(PIECES.len())];
                characters.splice(place..place, piece.chars());
            }
        }
    }
    characters.into_iter().collect()
}

#[test]
fn no_text_breaks_the_parser() {
    assert!(Policy::parse(SAMPLE, "sample").is_ok());
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..5_000 {
        let text = mutate(SAMPLE, &mut numbers);
        match Policy::parse(&text, "mutant") {
            Ok(policy) => {
                right += 1;
                policy.explain("/var/x/y.ibd", "mariadbd", "xfs");
            }
            Err(error) => {
                wrong += 1;
                assert!(!error.diagnostics.is_empty());
                for found in &error.diagnostics {
                    assert_eq!(
                        text.lines().nth(found.line - 1).unwrap_or_default(),
                        found.text
                    );
                }
                assert!(error.to_string().contains("mutant:"));
            }
        }
    }
    assert!(right > 100 && wrong > 100, "{right} right, {wrong} wrong");
}
