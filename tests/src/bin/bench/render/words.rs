//! How figures and numbers are written for people.

use crate::statistics::Spread;

/// What a figure of `io` or `aio` measures; where nothing is said, its name.
pub fn says(name: &str) -> &str {
    match name {
        "pread-4k" => "`pread` 4 KiB, cached",
        "pread-64k" => "`pread` 64 KiB, cached",
        "pread-1" => "`pread` of a byte, cached",
        "pwrite-4k" => "`pwrite` 4 KiB",
        "pwrite-64k" => "`pwrite` 64 KiB",
        "pwrite-sync-4k" => "`pwrite` 4 KiB, and on to the device",
        "read-4k" => "`read` 4 KiB at the offset",
        "direct-write-4k" => "direct write 4 KiB",
        "direct-read-4k" => "direct read 4 KiB",
        "direct-write-mapped-4k" => "direct write 4 KiB beside a mapping",
        "open-close" => "`open`, `close`",
        "open-read-close" => "`open`, `pread` of a byte, `close`",
        "mmap-munmap" => "`mmap`, `munmap`, shared, writable",
        "fork-wait" => "`fork`, `wait`",
        "spawn-true" => "starting `/bin/true`",
        "aio-read-1" => "read, one in flight",
        "aio-read-32" => "read, 32 in flight",
        "aio-read-32-each" => "read, 32 in flight, a call each",
        "aio-ring-32" => "read, 32 in flight, off the ring",
        "aio-idle" => "a context, and nobody waits",
        "aio-write-32" => "write, 32 in flight",
        other => other,
    }
}

pub fn use_of(mixed: bool) -> &'static str {
    if mixed { "mixed" } else { "one mode" }
}

/// Three digits and a unit.
pub fn time(ns: f64) -> String {
    let units = [(1e3, 1.0, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")];
    // What rounds to 1,000 is one of the next.
    let unit = units.iter().find(|(below, ..)| ns < below * 0.9995);
    let (_, one, name) = unit.unwrap_or(&(0.0, 1e9, "s"));
    format!("{} {name}", times(ns / one))
}

/// Digits that say something.
pub fn times(ratio: f64) -> String {
    let digits = match ratio {
        r if r < 9.995 => 2,
        r if r < 99.95 => 1,
        _ => 0,
    };
    format!("{ratio:.digits$}")
}

pub fn range(spread: Spread) -> String {
    format!("{}..{}", times(spread.low), times(spread.high))
}

pub fn thousands(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0.0 && digits != "0" {
        format!("-{text}")
    } else {
        text
    }
}

/// The first line is the head. All columns but the first are numbers, and stand right; but not those whose head begins with
/// `<`.
pub fn table(head: &[&str], lines: Vec<Vec<String>>) -> String {
    let side = |(at, head): (usize, &&str)| match at == 0 || head.starts_with('<') {
        true => "---|",
        false => "--:|",
    };
    let sides: String = head.iter().enumerate().map(side).collect();
    let names: Vec<_> = head.iter().map(|h| h.trim_start_matches('<')).collect();
    let mut text = format!("| {} |\n|{sides}\n", names.join(" | "));
    for line in lines {
        text += &format!("| {} |\n", line.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let said = [4.126, 381.4, 999.7, 12_345.0, 2.5e6, 3.1e9].map(time);
        assert_eq!(
            said,
            [
                "4.13 ns", "381 ns", "1.00 µs", "12.3 µs", "2.50 ms", "3.10 s"
            ]
        );
        assert_eq!(time(99.96), "100 ns");
    }

    #[test]
    fn thousands_are_set_off() {
        let said = [0.4, 999.0, 1000.0, -1_234_567.0, -0.2].map(thousands);
        assert_eq!(said, ["0", "999", "1,000", "-1,234,567", "0"]);
    }

    /// Every figure that the help names can be named to people.
    #[test]
    fn figures_have_words() {
        let help = include_str!("../../../../../scripts/bench");
        let of_io = help.split("FIGURES of io\n").nth(1).unwrap();
        let of_io = of_io.split("\n\n").next().unwrap();
        let of_aio = help.split("FIGURES of aio\n").nth(1).unwrap();
        let of_aio = of_aio.split("FIGURES of").next().unwrap();
        let of_aio = of_aio.lines().filter(|line| line.starts_with("    aio-"));
        let aio = of_aio.flat_map(|line| line.split_whitespace().next());
        let names: Vec<_> = of_io.split_whitespace().chain(aio).collect();
        assert_eq!(names.len(), 21, "{names:?}");
        for name in names {
            assert_ne!(says(name), name);
        }
    }
}
