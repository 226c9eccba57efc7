//! The supervisor itself is killed: its program's file calls fail, which is said, and nobody hangs or goes on unfenced.

use crate::supervised;
use pagefence_tests::fence::Fence;
use pagefence_tests::places::main_place;
use pagefence_tests::programs::compile;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// The supervisor of a process, which names it among its own arguments.
fn supervisor_of(process: u32) -> Option<u32> {
    let numbers = fs::read_dir("/proc").ok()?.flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let words = |number: &u32| fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
    let own = format!("\0{process}\0");
    let mut all = numbers.filter(|number| {
        let words = words(number);
        words.ends_with(own.as_bytes()) && words.windows(7).any(|part| part == b"--serve")
    });
    all.next()
}

/// How it ends, in time.
fn end_of(child: &mut Child) -> std::process::ExitStatus {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match child.try_wait().expect("a child of ours") {
            Some(status) => return status,
            None if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            None => {
                let _ = child.kill();
                panic!("it goes on without its supervisor, or hangs");
            }
        }
    }
}

#[test]
fn a_killed_supervisor_is_said_and_its_program_fails() {
    let program = compile("endless", &["-static"]);
    let (fence, place) = (Fence::new(), main_place());
    let dir = place.directory();
    let file = dir.path().join("file");
    fs::write(&file, "a").expect("a file of ours");
    let mut command = supervised(&fence, &program.path);
    command.arg(&file);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("pagefence");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("its word");
    assert_eq!(line, "ready\n");
    // It is in the middle of its calls.
    std::thread::sleep(Duration::from_millis(50));
    assert!(child.try_wait().expect("a child of ours").is_none());
    let supervisor = supervisor_of(child.id()).expect("its supervisor");
    // SAFETY: a plain call.
    assert_eq!(unsafe { libc::kill(supervisor as i32, libc::SIGKILL) }, 0);
    let status = end_of(&mut child);
    // Its way out goes by the supervisor, too: without it the C library can only crash.
    let failed = status.code() == Some(libc::ENOSYS) || status.signal() == Some(libc::SIGSEGV);
    assert!(failed, "{status}");
    let mut said = String::new();
    let mut err = child.stderr.take().expect("a pipe");
    err.read_to_string(&mut said).expect("what was said");
    assert!(
        said.contains("the supervisor of this program was killed"),
        "{said}"
    );
    assert_eq!(fence.damage(), None);
}
