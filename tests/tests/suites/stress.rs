//! stress-ng's workers that use files, all at once: they verify what they do, and none of them fails fenced, in whatever way.

use std::process::Command;

use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::{ATOMIC, Fence, PAST, ROUTED};
use pagefence_tests::places::places;

use super::is_long;

const WORKERS: &str = "hdd iomix aio aiol copy-file dup fallocate mmapfork readahead sendfile splice sync-file seek rename fiemap \
                       mmap mremap msync fpunch";

/// None of them is to fill the filesystem.
const SMALL: &str = "--hdd-bytes 64m --iomix-bytes 64m --fallocate-bytes 64m --readahead-bytes 64m --seek-size 64m \
                     --copy-file-bytes 128m --sync-file-bytes 64m --sendfile-size 8m";

/// Of what it does itself it tells numbers of processes, and times.
fn nothing(_: &str) -> String {
    String::new()
}

#[test]
fn stress() {
    if !is_long("stress-ng") {
        return;
    }
    for place in places() {
        let fences = [
            ("fenced", Fence::new()),
            ("atomic", Fence::with_policy(ATOMIC)),
            ("routed", Fence::with_policy(ROUTED)),
            ("past", Fence::with_policy(PAST)),
        ];
        let comparison = Comparison::new("stress-ng")
            .limit(120)
            .normalise(nothing)
            .expect_said(&[
                // One of `dup`'s.
                "uncovered clone with CLONE_VM",
                "uncovered route",
                "uncovered sendfile under way when the file's first direct user came",
            ]);
        let bare = comparison.check(&place, &fences, |_| {
            let mut command = Command::new("stress-ng");
            command.args(["--timeout", "5", "--verify", "--temp-path", "."]);
            command.args(SMALL.split_whitespace());
            for worker in WORKERS.split_whitespace() {
                command.args([&format!("--{worker}"), "1"]);
            }
            command
        });
        assert_eq!(bare.code(), 0, "bare on {}: {}", place.name, bare.report());
    }
}
