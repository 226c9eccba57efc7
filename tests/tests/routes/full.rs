//! `route = "direct"` on a filesystem that is full: the program hears what it hears bare, and what it was told is written is
//! there, and nothing else.

use pagefence_tests::fence::{self, Fence, PAST};
use pagefence_tests::places::main_place;
use pagefence_tests::run::run;
use pagefence_tests::{is_root, skip};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use summary::Counter;

fn shell(dir: &Path, script: &str, fence: Option<&Fence>) -> String {
    let mut command = Command::new("bash");
    command.args(["-euc", script]).current_dir(dir);
    command.env("LC_ALL", "C");
    fence::apply(fence, &mut command);
    let outcome = run(&mut command, Duration::from_secs(60)).expect("bash");
    assert_eq!(outcome.code(), 0, "{}", outcome.report());
    outcome.stdout
}

/// A small filesystem, unmounted when dropped.
struct Small<'a>(&'a Path);

impl Drop for Small<'_> {
    fn drop(&mut self) {
        shell(self.0, "umount m", None);
    }
}

/// How much fits is the filesystem's affair, which puts off what goes through the cache: not that of this test.
const FILL: &str = r#"
for size in 65536 100000 4096; do
    seq 1000000000 1003000000 | dd of=m/f bs=$size iflag=fullblock 2>said && echo "all of it?"
    grep -o 'dd: .*' said
    written=$(sed -n 's/ bytes.*//p' said)
    [ $(stat -c %s m/f) = "$written" ] && echo "as long as was said"
    seq 1000000000 1003000000 | head -c "$written" | cmp - m/f && echo right
    [ "$written" -gt 10000000 ] && echo "nearly all"
    # A part of what is there already, and some room again.
    printf changed | dd of=m/f bs=7 seek=1000 conv=notrunc status=none && echo changed
    truncate -s 5000000 m/f; seq 1 300000 >>m/f && tail -c 7 m/f
    rm m/f
done 2>&1
"#;

#[test]
fn a_full_filesystem() {
    if !is_root() {
        return skip("a small filesystem: mounting needs root");
    }
    let place = main_place().directory();
    let dir = place.path();
    let make = "truncate -s 24M image; mkfs.ext4 -q -F image; mkdir m; mount -o loop image m";
    shell(dir, make, None);
    let _small = Small(dir);
    let bare = shell(dir, FILL, None);
    let count = |what: &str| bare.matches(what).count();
    assert_eq!(count("No space left on device"), 3, "{bare}");
    assert_eq!([count("right\n"), count("nearly all")], [3, 3], "{bare}");
    let fence = Fence::with_policy(PAST);
    assert_eq!(shell(dir, FILL, Some(&fence)), bare);
    assert!(
        fence.count(Counter::DirectWritesDirect) > 0,
        "all through the cache"
    );
}
