//! A program linked with AddressSanitizer died with the sanitizer's message when anything was preloaded before it.

use super::{assert_as_bare, said, through};
use pagefence_tests::fence::Fence;
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use std::path::Path;

#[test]
fn programs_with_sanitizers() {
    for flags in [
        &["-fsanitize=address"][..],
        &["-fsanitize=address", "-static-libasan"],
        &["-fsanitize=thread"],
        &["-fsanitize=undefined"],
    ] {
        let program = compile("both_ways", flags);
        let of = |fence: Option<&Fence>| {
            let dir = main_place().directory();
            let at = dir.path().to_string_lossy();
            let more = [
                ("PAGEFENCE_LOG", Path::new("info")),
                ("ASAN_OPTIONS", Path::new("detect_leaks=0")),
            ];
            through(&[], fence, &more, &program.path, &[&at])
        };
        let (bare, fenced) = (of(None), of(Some(&Fence::new())));
        assert_eq!(bare.stdout, "data right\n", "{flags:?}: {}", bare.report());
        assert_as_bare(&bare, &fenced);
        assert_eq!(
            said(&fenced, &["mixed"]),
            1,
            "{flags:?}: {}",
            fenced.report()
        );
    }
}
