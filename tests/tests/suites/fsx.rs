//! fsx, the File System eXerciser, with every operation that it has: it reads, writes, maps, cuts, punches, copies and sends
//! one file by chance, the same chance each time, and knows what each read must see. Bare and fenced in each way, alone and
//! beside somebody who reads the file past the cache, it does and finds the same. `scripts/test --long suites` installs it.

use std::path::Path;
use std::process::Command;

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{ATOMIC, Fence, PAST, ROUTED};
use pagefence_tests::places::{Place, places};
use summary::Counter;

use super::{bash, is_long};

/// How much of what, but for what differs.
const WEIGHTS: &str = r#"
close_open = 1
read = 10
write = 10
mapwrite = 10
invalidate = 1
truncate = 3
fsync = 1
fdatasync = 1
posix_fallocate = 3
punch_hole = 3
sendfile = 5
posix_fadvise = 2
copy_file_range = 5
"#;

/// What differs. Any byte of a small file, of which all is mapped soon, because it doesn't unmap what it has read by. And
/// whole blocks of one that large folios fit in, which isn't mapped for long, so that they can go past the cache.
const MAPPED: &str = "flen = 300000\n[opsize]\nmax = 65536\n[weights]\nmapread = 10\n";
const BLOCKS: &str =
    "flen = 6291456\n[opsize]\nmax = 524288\nalign = 4096\n[weights]\nmapread = 0\n";

/// Its standard error has each operation. The reader beside it fails where the file ends in the middle of a block, by chance.
const ALONE: &str = r#"printf '%s' "$config" >config; "$fsx" -f config -N 1500 -S "$seed" -v data"#;
const BESIDE: &str = r#"
printf '%s' "$config" >config; : >data; : >going
while [ -e going ]; do dd if=data of=/dev/null bs=64k iflag=direct status=none 2>/dev/null; done &
"$fsx" -f config -N 1500 -S "$seed" -v data && rm going || { rm going; exit 1; }
wait
"#;

fn exercise(place: &Place, tool: &Path, script: &str, beside: bool) {
    for (seed, config) in [(1, MAPPED), (2, BLOCKS)] {
        let fences = [
            ("fenced", Fence::new()),
            ("atomic", Fence::with_policy(ATOMIC)),
            ("routed", Fence::with_policy(ROUTED)),
            ("past", Fence::with_policy(PAST)),
        ];
        let comparison = Comparison::new("fsx").limit(240);
        let comparison = comparison.expect_said(match (place.name.as_str(), beside) {
            // There is no past, and that is said.
            ("tmpfs", false) => &["uncovered route"],
            ("tmpfs", true) => &["uncovered route", UNDER_WAY],
            (_, false) => &[],
            (_, true) => &[UNDER_WAY],
        });
        let bare = comparison.check(place, &fences, |dir| {
            let mut command: Command = bash(script)(dir);
            command
                .env("config", format!("{config}{WEIGHTS}"))
                .env("seed", seed.to_string())
                .env("fsx", tool);
            command
        });
        assert_eq!(bare.code(), 0, "bare on {}: {}", place.name, bare.report());
        assert!(bare.stdout.contains("A-OK"), "{}", bare.report());
        for operation in ["punch_hole", "copy_file_range", "sendfile", "mapwrite"] {
            assert!(bare.stderr.contains(operation), "no {operation}");
        }
        for (how, fence) in &fences {
            was_mixed(place, config, how, fence, beside);
        }
    }
}

/// What is said of a `sendfile` that began while nobody used the file directly.
const UNDER_WAY: &str = "uncovered sendfile under way when the file's first direct user came";

/// It was used past the cache where there was somebody who asked for it, or its equal results say nothing.
fn was_mixed(place: &Place, config: &str, how: &str, fence: &Fence, beside: bool) {
    let asked = match how {
        "routed" => false,
        "past" => place.name != "tmpfs" && config == BLOCKS,
        _ => beside,
    };
    let direct = fence.count(Counter::DirectReadsDirect);
    let back = match config {
        MAPPED => fence.count(Counter::FallbackMapped),
        _ => 0,
    };
    let mixed = direct + back > 0;
    assert!(
        mixed >= asked && (how != "routed" || !mixed),
        "{how} on {}: {direct} direct reads, {back} fell back",
        place.name
    );
}

#[test]
fn fsx() {
    if !is_long("fsx") {
        return;
    }
    let tool = std::env::var_os("PAGEFENCE_TEST_FSX").expect("see scripts/test");
    for place in places() {
        exercise(&place, Path::new(&tool), ALONE, false);
        exercise(&place, Path::new(&tool), BESIDE, true);
    }
}
