//! What is told again and again. `uncovered` came at each reopening of a file, because what was told was noted in the
//! file's record, which ends with the last close; and one reason silenced all others. The kind: "once" that means once a
//! record. On standard error each kind is told once a file and pair of programs; the trace has one for each opening.

use super::{assert_as_bare, said, through, traced};
use pagefence_tests::fence::Fence;
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use std::path::Path;

#[test]
fn a_file_that_is_opened_again_is_not_told_again() {
    let program = compile("told_again", &[]);
    // By a path: the policy leaves out its other name.
    let files = "path = [\"/**/first\", \"/**/second\"]\nmode = \"enforce\"\n";
    let policy = format!("[defaults]\nmode = \"off\"\n\n[[rule]]\nname = \"files\"\n{files}");
    let fence = Fence::with_policy(&policy);
    let dir = main_place().directory();
    let at = dir.path().to_string_lossy();
    let trace = fence.trace();
    let more = [
        ("PAGEFENCE_TRACE", trace.as_path()),
        ("PAGEFENCE_LOG", Path::new("debug")),
    ];
    let bare = through(&[], None, &[], &program.path, &[&at]);
    let fenced = through(&[], Some(&fence), &more, &program.path, &[&at]);
    assert_as_bare(&bare, &fenced);
    let shown = |words: &[&str]| said(&fenced, words);
    for (kind, reason) in [
        ("uncovered", "copy_file_range"),
        ("uncovered", "the file has other names"),
        ("mixed", ""),
        ("fallback", ""),
    ] {
        for file in ["/first ", "/second "] {
            let times = shown(&[kind, reason, file]);
            assert_eq!(times, 1, "{kind} {reason} {file}: {}", fenced.report());
        }
        let of = |event: &serde_json::Value| {
            event["reason"]
                .as_str()
                .unwrap_or_default()
                .starts_with(reason)
        };
        let all = traced(&trace, kind).into_iter().filter(of).count();
        assert_eq!(all, 14, "{kind} {reason}: {}", fenced.report());
    }
}
