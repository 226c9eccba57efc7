//! Names that are made to steer the terminal, or to look like a line of ours, in each command: they come out as `\xNN`.

mod common;
mod traces;

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use common::{Running, library, stdout};
use trace::Kind;
use traces::{ring, tell, traced};

/// Red, a second line, another title, and from right to left.
const HOSTILE: &str = "a\u{1b}[31m\n0 events\u{1b}]0;x\u{7}\u{9b}\u{202e}b";
const SHOWN: &str = "a\\x1b[31m\\x0a0 events\\x1b]0;x\\x07\\xc2\\x9b\\xe2\\x80\\xaeb";

/// Nothing of what it says steers; and all that is of our names is on one line.
fn is_tame(output: &Output, what: &str) -> bool {
    let mut shown = false;
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(steers), "{what}: {text:?}");
        assert!(!text.contains("\n0 events\\x1b"), "{what}: {text:?}");
        // In JSON a backslash is two.
        shown |= text.replace("\\\\", "\\").contains(SHOWN);
    }
    shown
}

#[test]
fn no_name_steers_the_terminal() {
    let fixture = traced(|folder| {
        let ring = ring(folder, 10, HOSTILE);
        tell(ring, (10, 20), Kind::Mixed, 0, HOSTILE);
        tell(ring, (10, 20), Kind::Collision, 1, HOSTILE);
    });
    let name = std::ffi::OsString::from_vec(HOSTILE.as_bytes().to_vec());
    let directory = fixture.path("h");
    std::fs::create_dir(&directory).unwrap();
    let at = |end: &str| {
        let mut name = name.clone();
        name.push(end);
        directory.join(name)
    };
    let (data, program, table) = (at(".data"), at(""), at(".table"));
    std::fs::write(&data, [b'x'; 65536]).unwrap();
    std::fs::copy("/usr/bin/sleep", &program).unwrap();
    // Fenced, in that table, with that file open and mapped.
    let script = "import mmap, os, sys, time\nfd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)\n\
        page = mmap.mmap(-1, 4096)\nos.preadv(fd, [page], 0)\nother = os.open(sys.argv[1], os.O_RDWR)\n\
        os.preadv(other, [page], 0)\nprint('here', flush=True)\ntime.sleep(1000)\n";
    let python = directory.join(name.clone()).with_extension("py");
    std::fs::copy("/usr/bin/python3", &python).unwrap();
    let mut command = fixture.bare(&python);
    command
        .env("LD_PRELOAD", library())
        .env("PAGEFENCE_TABLE", &table);
    let mut user = Running::start(command.args(["-c", script]).arg(&data));
    user.wait_for_line();
    let policy = fixture.write(
        "p.toml",
        format!("[[rule]]\nname = \"{}\"\nmod = 1\n", "\u{202e}").as_bytes(),
    );
    let pid = user.number();
    let missing: PathBuf = at(".missing");
    let words = |words: &[&dyn AsRef<std::ffi::OsStr>]| -> Vec<std::ffi::OsString> {
        words.iter().map(|word| word.as_ref().to_owned()).collect()
    };
    let json = words(&[&"--json"]);
    let mut unseen = Vec::new();
    for (is_named, arguments) in [
        (true, words(&[&"scan", &data])),
        (true, words(&[&"scan", &directory])),
        (true, words(&[&"scan", &missing])),
        (true, words(&[&"doctor", &pid])),
        (true, words(&[&"doctor", &program])),
        (true, words(&[&"doctor", &missing])),
        (false, words(&[&"probe", &directory])),
        (true, words(&[&"probe", &missing])),
        (false, words(&[&"status"])),
        (true, words(&[&"status", &data])),
        (true, words(&[&"locks", &"--table", &table])),
        (true, words(&[&"table", &"show", &table])),
        (false, words(&[&"table", &"show", &missing])),
        (true, words(&[&"policy", &"explain", &data])),
        (true, words(&[&"policy", &"check", &missing])),
        (false, words(&[&"policy", &"check", &policy])),
        (true, words(&[&"metrics"])),
        (true, words(&[&"report", &"trace"])),
        (true, words(&[&"report", &"--ndjson", &"trace"])),
        (true, words(&[&"report", &missing])),
        (true, words(&[&"run", &"--", &missing])),
        (
            true,
            words(&[&"run", &"--policy", &missing, &"--", &"true"]),
        ),
    ] {
        let is_plain = ["run", "metrics", "check"];
        let forms = match arguments
            .iter()
            .any(|word| is_plain.iter().any(|plain| word == plain))
            || arguments[0] == "report"
        {
            true => vec![Vec::new()],
            false => vec![Vec::new(), json.clone()],
        };
        for form in forms {
            let mut command: Command = fixture.pagefence();
            command.env("PAGEFENCE_TABLE", &table);
            command.args(&arguments).args(&form).stdin(Stdio::null());
            let output = command.output().unwrap();
            let shown: Vec<_> = arguments
                .iter()
                .map(|word| String::from_utf8_lossy(word.as_bytes()))
                .collect();
            let what = format!("{shown:?} {form:?}: {}", stdout(&output));
            if is_tame(&output, &what) != is_named && is_named {
                unseen.push(format!("{what}{}", common::stderr(&output)));
            }
        }
    }
    assert!(unseen.is_empty(), "the name isn't there: {unseen:#?}");
}
