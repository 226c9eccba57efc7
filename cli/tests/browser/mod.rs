//! Chromium, without a window, told what to do over a pipe: its own protocol (DevTools), messages of JSON that end with a
//! NUL. It may load files and nothing else; what it complains of, and what it would load, is kept.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A machine under load takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    last: u64,
    session: Option<String>,
    /// Errors of the page, and what it wanted from elsewhere.
    pub complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// None: there is none here.
    pub fn start() -> Option<Browser> {
        let program = ["/usr/bin/chromium", "/usr/bin/chromium-browser"];
        let program = program.iter().find(|path| Path::new(path).exists())?;
        let profile = tempfile::tempdir().unwrap();
        // It reads from 3 and writes to 4.
        let mut child = Command::new("sh")
            .args([
                "-c",
                "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1",
                "sh",
                program,
            ])
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--remote-debugging-pipe",
                "--no-first-run",
                "--disable-background-networking",
            ])
            .args([
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--window-size=1280,1000",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env_remove("LD_PRELOAD")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (put, from) = channel();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while out.read_until(0, &mut message).is_ok_and(|n| n > 0) {
                message.pop();
                let _ = put.send(serde_json::from_slice(&message).unwrap_or_default());
                message.clear();
            }
        });
        let mut browser = Browser {
            to: child.stdin.take().unwrap(),
            child,
            from,
            last: 0,
            session: None,
            complaints: Vec::new(),
            _profile: profile,
        };
        browser.attach();
        Some(browser)
    }

    fn attach(&mut self) {
        let target = self.ask("Target.createTarget", json!({"url": "about:blank"}));
        let of = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.ask("Target.attachToTarget", of);
        self.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.ask(&format!("{domain}.enable"), json!({}));
        }
        self.ask("Performance.enable", json!({"timeDomain": "threadTicks"}));
    }

    /// Does something, and says what came of it.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        loop {
            let said = self.from.recv_timeout(PATIENCE);
            let mut said = said.unwrap_or_else(|e| panic!("{method}: {e}"));
            if said["id"] == self.last {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].take();
            }
            self.note(&said);
        }
    }

    fn note(&mut self, said: &Value) {
        let params = &said["params"];
        match said["method"].as_str().unwrap_or("") {
            "Runtime.exceptionThrown" | "Log.entryAdded" => {
                self.complaints.push(params.to_string())
            }
            "Runtime.consoleAPICalled"
                if params["type"] == "error" || params["type"] == "warning" =>
            {
                self.complaints.push(params.to_string());
            }
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap_or("?");
                if !["file:", "data:", "blob:", "about:"]
                    .iter()
                    .any(|own| url.starts_with(own))
                {
                    self.complaints.push(format!("it wants {url}"));
                }
            }
            _ => {}
        }
    }

    /// Opens a page of ours and waits until it says that it is ready. How long that took.
    pub fn open(&mut self, page: &Path) -> Duration {
        let begun = Instant::now();
        self.ask(
            "Page.navigate",
            json!({"url": format!("file://{}", page.display())}),
        );
        self.until("document.documentElement?.dataset.ready > 0");
        begun.elapsed()
    }

    /// What an expression is worth in the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        let what = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut said = self.ask("Runtime.evaluate", what);
        assert!(said["exceptionDetails"].is_null(), "{expression}: {said}");
        said["result"]["value"].take()
    }

    /// For how long the page has had a processor: what else the machine does doesn't count.
    pub fn worked(&mut self) -> Duration {
        let said = self.ask("Performance.getMetrics", json!({}));
        let all = said["metrics"].as_array().unwrap();
        let of = all.iter().find(|metric| metric["name"] == "TaskDuration");
        Duration::from_secs_f64(of.unwrap()["value"].as_f64().unwrap())
    }

    pub fn text(&mut self, selector: &str) -> String {
        let said = self.eval(&format!("document.querySelector({selector:?}).textContent"));
        said.as_str().unwrap().to_owned()
    }

    /// Waits until it is true. How long that took.
    pub fn until(&mut self, expression: &str) -> Duration {
        let begun = Instant::now();
        while self.eval(&format!("Boolean({expression})")) != true {
            assert!(
                begun.elapsed() < PATIENCE,
                "never: {expression}: {:?}",
                self.complaints
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        begun.elapsed()
    }

    pub fn mouse(&mut self, kind: &str, (x, y): (f64, f64), more: Value) {
        let mut event = json!({"type": kind, "x": x, "y": y});
        let with = event.as_object_mut().unwrap();
        with.extend(more.as_object().cloned().unwrap_or_default());
        self.ask("Input.dispatchMouseEvent", event);
    }

    pub fn key(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.ask("Input.dispatchKeyEvent", json!({"type": kind, "key": key}));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
