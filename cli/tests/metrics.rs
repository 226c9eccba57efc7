//! `pagefence metrics`: the numbers are what real programs do, and a real Prometheus takes them, their rules and alerts.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::held::{until, within};
use common::{Fixture, Running, skip, stderr, stdout};
use serde_json::Value;

const RULES: &str = include_str!("../../docs/metrics/pagefence.rules.yml");
const DASHBOARD: &str = include_str!("../../docs/metrics/dashboard.json");

fn ask(fixture: &Fixture, arguments: &[&str]) -> Output {
    let mut command = fixture.pagefence();
    command.env("PAGEFENCE_TABLE", fixture.path("table"));
    command.arg("metrics").args(arguments).output().unwrap()
}

/// The value of the line that begins so, and names this fixture's table.
fn value(text: &str, fixture: &Fixture, name: &str, label: &str) -> Option<f64> {
    let table = format!("table=\"{}\"", fixture.path("table").display());
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")));
    let line = lines.find(|line| line.contains(&table) && line.contains(label))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// One that serves, ended with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(fixture: &Fixture, more: &[&str]) -> Server {
        let mut command = fixture.pagefence();
        command.env("PAGEFENCE_TABLE", fixture.path("table"));
        command
            .args(["metrics", "--listen", "127.0.0.1:0"])
            .args(more);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let read = BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line);
        read.unwrap();
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Server { child, address }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is answered to these bytes.
fn said(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: &str, path: &str) -> String {
    said(address, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new("promtool");
    let command = command.args(arguments).stdin(Stdio::piped());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn has_prometheus() -> bool {
    let there =
        Path::new("/usr/bin/prometheus").exists() && Path::new("/usr/bin/promtool").exists();
    if !there {
        skip("prometheus is not installed");
    }
    there
}

#[test]
fn the_numbers_of_real_programs() {
    let fixture = Fixture::new();
    let table = fixture.path("table");
    let holder = fixture.holder(&table, "data");
    let waiter = fixture.waiter(&table, "data");
    let server = Server::start(&fixture, &[]);
    // Seen at two looks.
    let text = until("it waits", || {
        let text = get(&server.address, "/metrics");
        let seconds = value(&text, &fixture, "pagefence_wait_seconds", "")?;
        (seconds > 1.0).then_some(text)
    });
    let is = |name: &str, label: &str| value(&text, &fixture, name, label);
    assert_eq!(is("pagefence_up", ""), Some(1.0), "{text}");
    assert_eq!(is("pagefence_processes", "state=\"living\""), Some(2.0));
    assert_eq!(is("pagefence_files", "use=\"mixed\""), Some(1.0));
    let path = format!("path=\"{}\"", fixture.path("data").display());
    assert_eq!(is("pagefence_file_mixed", &path), Some(1.0));
    assert_eq!(is("pagefence_claims", "state=\"holds\""), Some(1.0));
    assert_eq!(is("pagefence_claims", "state=\"waits\""), Some(1.0));
    assert_eq!(is("pagefence_stopped_holders", ""), Some(1.0));
    assert_eq!(is("pagefence_used", "what=\"processes\""), Some(2.0));
    assert!(is("pagefence_queued_total", "").unwrap() >= 1.0);
    assert!(is("pagefence_announced_total", "").unwrap() >= 2.0);
    holder.signal("CONT");
    until("nobody waits", || {
        let text = get(&server.address, "/metrics");
        (value(&text, &fixture, "pagefence_wait_seconds", "") == Some(0.0)).then_some(())
    });
    drop(waiter);
}

/// Whatever is asked and however slowly, it goes on with one thread, and a signal ends it.
#[test]
fn who_asks_badly_keeps_nobody_else_waiting_for_long() {
    let fixture = Fixture::new();
    let mut server = Server::start(&fixture, &[]);
    let address = server.address.clone();
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            "400",
        ),
        (b"GET /metrics?x=1 HTTP/1.1\r\nHost: here\r\n\r\n", "200"),
    ] {
        let answer = said(&address, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let mut long = b"GET /metrics HTTP/1.1\r\n".to_vec();
    for at in 0..40 {
        long.extend_from_slice(format!("X-{at}: {}\r\n", "x".repeat(1000)).as_bytes());
    }
    // It may be reset before all of it was sent.
    let mut stream = TcpStream::connect(&address).unwrap();
    let _ = stream.write_all(&long);
    drop(stream);
    // Many that say nothing, and one that says little by little.
    let silent: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.child.id()))
        .unwrap()
        .count();
    assert_eq!(threads, 1);
    drop(silent);
    let mut slow = TcpStream::connect(&address).unwrap();
    slow.write_all(b"GET /met").unwrap();
    let begun = Instant::now();
    assert!(get(&address, "/metrics").starts_with("HTTP/1.1 200 "));
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );

    server.signal("TERM");
    let status = within(Duration::from_secs(10), "it ends", || {
        server.child.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(0));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = ask(
        &fixture,
        &["--listen", &taken.local_addr().unwrap().to_string()],
    );
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(125), String::new())
    );
    assert!(stderr(&output).contains("can't listen at"), "{output:?}");
}

#[test]
fn a_file_is_there_as_a_whole_or_not_at_all() {
    let fixture = Fixture::new();
    fixture.write("data", &[0; 8192]);
    drop(fixture.waiter(&fixture.path("table"), "data"));
    let output = ask(&fixture, &["--textfile", "numbers.prom"]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), String::new()),
        "{output:?}"
    );
    let text = std::fs::read_to_string(fixture.path("numbers.prom")).unwrap();
    assert_eq!(
        value(&text, &fixture, "pagefence_processes", "state=\"dead\""),
        Some(1.0),
        "{text}"
    );
    let left = || {
        let names = std::fs::read_dir(fixture.path("")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("pagefence-")).count()
    };
    assert_eq!(left(), 0);
    let output = ask(&fixture, &["--textfile", "none/numbers.prom"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("can't write none/numbers.prom"),
        "{output:?}"
    );

    // Again and again, and never half of it.
    let mut command = fixture.pagefence();
    command.args(["metrics", "--textfile", "numbers.prom", "--every", "100ms"]);
    let child = Running::start(&mut command);
    let inode =
        || std::os::unix::fs::MetadataExt::ino(&fixture.path("numbers.prom").metadata().unwrap());
    let mut seen = BTreeSet::new();
    within(Duration::from_secs(30), "it is written three times", || {
        seen.insert(inode());
        let text = std::fs::read_to_string(fixture.path("numbers.prom")).unwrap();
        assert!(
            text.ends_with('\n') && text.contains("pagefence_unseen"),
            "{text}"
        );
        (seen.len() > 3).then_some(())
    });
    child.signal("TERM");
    assert_eq!(child.code(), Some(0));
    assert_eq!(left(), 0);
}

/// All names that a text speaks of.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("pagefence_") && word.len() > 10);
    ours.map(str::to_owned).collect()
}

/// Rules, dashboard and help speak of numbers that there are.
#[test]
fn rules_and_dashboard_name_what_there_is() {
    let fixture = Fixture::new();
    let table = fixture.path("table");
    let _holder = fixture.holder(&table, "data");
    std::fs::create_dir(fixture.path("trace")).unwrap();
    let output = ask(&fixture, &["--trace", "trace"]);
    let text = stdout(&output);
    let mut there: BTreeSet<String> = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        there.extend(line.split(['{', ' ']).next().map(str::to_owned));
    }
    let help = stdout(&ask(&fixture, &["--help"]));
    assert_eq!(names(&help), there, "{text}");
    for (what, text) in [("rules", RULES), ("dashboard", DASHBOARD)] {
        let wrong: Vec<_> = names(text).difference(&there).cloned().collect();
        assert!(
            wrong.is_empty() && names(text).len() > 5,
            "{what}: {wrong:?}"
        );
    }
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(
        panels
            .iter()
            .all(|panel| panel["targets"][0]["expr"].is_string())
    );
    if has_prometheus() {
        // It also complains of names and types that aren't as they should be.
        let output = promtool(&["check", "metrics"], &text);
        let complaints = stdout(&output) + &stderr(&output);
        assert_eq!((output.status.code(), complaints.as_str()), (Some(0), ""));
    }
}

/// What a real Prometheus answers to a path.
fn api(port: u16, path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

/// It reads the numbers and the rules, and the alert comes when a stopped process keeps another one waiting.
#[test]
fn a_real_prometheus() {
    if !has_prometheus() {
        return;
    }
    let fixture = Fixture::new();
    let table = fixture.path("table");
    let _holder = fixture.holder(&table, "data");
    let _waiter = fixture.waiter(&table, "data");
    let server = Server::start(&fixture, &[]);
    fixture.write("pagefence.rules.yml", RULES.as_bytes());
    let rules = fixture.path("pagefence.rules.yml");
    let output = promtool(&["check", "rules", rules.to_str().unwrap()], "");
    assert!(output.status.success(), "{output:?}");
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [pagefence.rules.yml]\nscrape_configs:\n  - job_name: pagefence\n    static_configs: [{{targets: ['{}']}}]\n",
        server.address
    );
    fixture.write("prometheus.yml", config.as_bytes());
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut command = fixture.bare("/usr/bin/prometheus");
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"]);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let prometheus = Running::start(command.stderr(Stdio::null()));
    let limit = Duration::from_secs(60);
    let query = format!(
        "/api/v1/query?query=pagefence_files%7Buse=%22mixed%22,table=%22{}%22%7D",
        table.display()
    );
    within(limit, "the number is there", || {
        let answer = api(port, &query)?;
        (answer["data"]["result"][0]["value"][1] == "1").then_some(())
    });
    let groups = within(limit, "all rules are evaluated", || {
        let answer = api(port, "/api/v1/rules")?;
        let rules = answer["data"]["groups"][0]["rules"].as_array()?.clone();
        rules
            .iter()
            .all(|rule| rule["health"] != "unknown")
            .then_some(rules)
    });
    assert_eq!(groups.len(), RULES.matches("- alert:").count());
    assert!(
        groups.iter().all(|rule| rule["health"] == "ok"),
        "{groups:?}"
    );
    within(limit, "the alert comes", || {
        let answer = api(port, "/api/v1/alerts")?;
        let mut alerts = answer["data"]["alerts"].as_array()?.iter();
        alerts
            .any(|alert| {
                alert["labels"]["alertname"] == "PagefenceStoppedHolder"
                    && alert["labels"]["table"] == table.to_str().unwrap()
            })
            .then_some(())
    });
    drop(prometheus);
}
