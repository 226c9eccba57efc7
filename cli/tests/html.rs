//! `pagefence report --html`: the page, in a real browser.

mod browser;
mod common;
mod traces;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use browser::Browser;
use common::{Fixture, skip, stderr};
use serde_json::json;
use trace::{Alone, Kind, Other, Record, Ring, Shape, Text};
use traces::{rich, ring, tell, traced};

/// Makes the page of a trace.
fn page(fixture: &Fixture) -> std::path::PathBuf {
    let mut command = fixture.pagefence();
    let output = command
        .args(["report", "trace", "--html", "page.html"])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    fixture.path("page.html")
}

fn opened(fixture: &Fixture) -> Option<Browser> {
    let Some(mut browser) = Browser::start() else {
        skip("no chromium");
        return None;
    };
    browser.open(&page(fixture));
    Some(browser)
}

/// Where on the screen the first cell of the map is in which something is.
const A_CELL: &str = "(() => {
    const map = document.getElementById('map'), heat = map.data[0], box = map.getBoundingClientRect();
    const y = heat.z.findIndex((line) => line.some((mode) => mode !== null)), x = heat.z[y].findIndex((mode) => mode !== null);
    const across = map._fullLayout.xaxis, down = map._fullLayout.yaxis;
    return [box.left + across._offset + across.d2p(heat.x0 + x * heat.dx), box.top + down._offset + down.d2p(heat.y0 + y * heat.dy)];
})()";

fn a_cell(browser: &mut Browser) -> (f64, f64) {
    browser.eval("document.getElementById('map').scrollIntoView()");
    let at = browser.eval(A_CELL);
    (at[0].as_f64().unwrap(), at[1].as_f64().unwrap())
}

/// Waits for another view than that one.
fn another(browser: &mut Browser, view: &str) -> String {
    browser.until(&format!(
        "document.getElementById('view').textContent !== {view:?}"
    ));
    browser.text("#view")
}

#[test]
fn what_is_told_is_there() {
    let Some(mut browser) = opened(&traced(rich)) else {
        return;
    };
    assert!(
        browser
            .text("#verdict")
            .starts_with("a-database-engine and backup mix /srv/db in bytes")
    );
    assert!(browser.text("#hint").contains("route = \"buffered\""));
    assert!(
        browser.text("#about").contains("MIXED") && browser.text("#about").contains("6 collision")
    );
    assert!(
        browser.text("#view").ends_with("; 7 events"),
        "{}",
        browser.text("#view")
    );
    assert!(
        browser
            .text("#others")
            .contains("start it with aio=threads")
    );
    assert!(
        browser
            .text("#counts")
            .contains("14 events in 2 rings; none is missing")
    );
    assert!(
        browser
            .text("#matrix-table")
            .contains("backup (direct_write)a-database-engine5")
    );
    assert!(browser.text("#ranges-table").contains("6"));
    // A mark of its own shape for each, and a word beside it.
    let shapes = browser.eval("document.getElementById('map').data.filter((t) => t.meta).map((t) => `${t.name} ${t.marker.symbol}`).join()");
    assert_eq!(shapes, "collision (6) x,mixed (1) cross-thin-open");
    assert!(
        browser
            .eval("document.querySelectorAll('#map .legend .traces').length")
            .as_u64()
            >= Some(2)
    );
    // Another file.
    browser.eval("{ const s = document.getElementById('file'); s.value = '1'; s.dispatchEvent(new Event('change')); }");
    assert!(browser.text("#about").contains("/srv/other"));
    assert!(
        browser
            .text("#waits-about")
            .contains("3 waits, 1.5 s in all, 500 ms at most")
    );
    assert!(browser.text("#fallbacks-table").contains("mapped3"));
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn it_zooms_and_says_what_is_under_the_pointer() {
    let Some(mut browser) = opened(&traced(rich)) else {
        return;
    };
    let all = browser.text("#view");
    let at = a_cell(&mut browser);
    browser.mouse("mouseMoved", (at.0 - 3.0, at.1), json!({}));
    browser.mouse("mouseMoved", at, json!({}));
    browser.until("document.querySelector('#map .hoverlayer .hovertext')");
    let says = browser.text("#map .hoverlayer");
    assert!(
        says.contains("direct_write") && says.contains(" met "),
        "{says}"
    );
    browser.mouse("mouseWheel", at, json!({"deltaX": 0, "deltaY": -300}));
    let wheel = another(&mut browser, &all);
    // By keys alone.
    browser.eval("document.getElementById('map').focus()");
    browser.key("0");
    assert_eq!(another(&mut browser, &wheel), all);
    browser.key("+");
    let near = another(&mut browser, &all);
    browser.key("ArrowRight");
    let right = another(&mut browser, &near);
    browser.key("ArrowDown");
    another(&mut browser, &right);
    browser.key("0");
    browser.until(&format!(
        "document.getElementById('view').textContent === {all:?}"
    ));
    // A box that is drawn.
    let at = a_cell(&mut browser);
    let left = json!({"button": "left", "buttons": 1, "clickCount": 1});
    browser.mouse("mousePressed", at, left.clone());
    for step in 1..=6 {
        let to = (at.0 + 40.0 * f64::from(step), at.1 + 20.0 * f64::from(step));
        browser.mouse("mouseMoved", to, left.clone());
    }
    browser.mouse("mouseReleased", (at.0 + 240.0, at.1 + 120.0), left);
    another(&mut browser, &all);
    browser.eval("document.querySelector('[data-do=whole]').click()");
    browser.until(&format!(
        "document.getElementById('view').textContent === {all:?}"
    ));
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn it_shows_what_is_chosen() {
    let Some(mut browser) = opened(&traced(rich)) else {
        return;
    };
    let choose = |browser: &mut Browser, what: &str, name: &str| {
        browser.eval(&format!(
            "{{ const s = document.getElementById('{what}'); s.value = [...s.options].find((o) => o.text === '{name}').value; s.dispatchEvent(new Event('change')); }}"
        ));
        browser.text("#view")
    };
    assert!(choose(&mut browser, "kind", "mixed").ends_with("; 1 events"));
    assert!(choose(&mut browser, "kind", "everything").ends_with("; 7 events"));
    assert!(choose(&mut browser, "program", "others").ends_with("; 1 events"));
    assert!(choose(&mut browser, "program", "backup").ends_with("; 6 events"));
    browser.eval("document.querySelector('#modes input[value=\"4\"]').click()");
    assert!(browser.text("#view").ends_with("; 0 events"));
    assert!(browser.text("#matrix").contains("Nobody met anybody"));
    browser.eval("document.getElementById('all').click()");
    browser.until("document.getElementById('view').textContent.endsWith('; 7 events')");
    browser.eval("document.getElementById('letters').click()");
    let letters = browser.eval("document.getElementById('map').data.filter((t) => t.mode === 'text').flatMap((t) => t.text).every((t) => t === 'W')");
    assert_eq!(letters, true);
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn light_dark_and_paper() {
    let Some(mut browser) = opened(&traced(rich)) else {
        return;
    };
    let ground =
        |browser: &mut Browser| browser.eval("getComputedStyle(document.body).backgroundColor");
    let media = |browser: &mut Browser, media: &str, scheme: &str| {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        browser.ask(
            "Emulation.setEmulatedMedia",
            json!({"media": media, "features": features}),
        );
    };
    media(&mut browser, "", "light");
    assert_eq!(ground(&mut browser), "rgb(255, 255, 255)");
    media(&mut browser, "", "dark");
    browser.until("getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 26)'");
    let drawn = browser.eval("document.getElementById('map')._fullLayout.plot_bgcolor");
    assert_eq!(drawn, "#14171a");
    // Nobody prints on black; and nobody can choose anything on paper.
    media(&mut browser, "print", "dark");
    browser.until("getComputedStyle(document.body).backgroundColor === 'rgb(255, 255, 255)'");
    assert_eq!(
        browser.eval("getComputedStyle(document.getElementById('filters')).display"),
        "none"
    );
    media(&mut browser, "", "dark");
    browser.eval("{ const s = document.getElementById('theme'); s.value = 'light'; s.dispatchEvent(new Event('change')); }");
    assert_eq!(ground(&mut browser), "rgb(255, 255, 255)");
    // Whatever can be used has a name.
    let nameless = browser.eval("[...document.querySelectorAll('main button, form button, select, input, #map')].filter((e) => !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim())).length");
    assert_eq!(nameless, 0);
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn names_that_mean_harm_are_names() {
    const FILE: &str =
        "/</script><script>window.evil = 1</script><img src=x onerror='window.evil = 1'>";
    const PROGRAM: &str = "<a href='javascript:evil()'>p</a>&lt;";
    let fixture = traced(|folder| {
        let (one, other) = (ring(folder, 10, PROGRAM), ring(folder, 20, "<b>two</b>"));
        tell(one, (10, 20), Kind::Collision, 0, FILE);
        tell(other, (20, 10), Kind::Wait, 9, FILE);
    });
    let Some(mut browser) = opened(&fixture) else {
        return;
    };
    let at = a_cell(&mut browser);
    browser.mouse("mouseMoved", at, json!({}));
    browser.until("document.querySelector('#map .hoverlayer .hovertext')");
    let said = browser.text("#map .hoverlayer");
    assert!(
        said.contains(PROGRAM) && said.contains("<b>two</b>"),
        "{said}"
    );
    assert!(browser.text("#file option").contains(FILE));
    assert!(browser.text("#matrix").contains("<b>two</b>"));
    let evil = "typeof window.evil !== 'undefined' || document.querySelectorAll('img, body > script').length > 4 || document.querySelectorAll('a[href^=javascript], td b').length > 0";
    assert_eq!(browser.eval(evil), false);
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn a_trace_with_nothing_in_it_has_a_page() {
    let Some(mut browser) = opened(&traced(|_| {})) else {
        return;
    };
    assert!(browser.text("#verdict").starts_with("nothing was told"));
    assert_eq!(browser.complaints, [""; 0]);
}

const MILLION: u64 = 1_000_000;

/// All over a file of 4 GiB, for ten seconds.
fn a_million(folder: &Path) {
    let shape = Shape {
        records: MILLION as usize,
        ..Shape::STANDARD
    };
    let folder = CString::new(folder.as_os_str().as_bytes()).unwrap();
    let ring = Ring::make(&folder, (10, b"writer"), shape, &Alone).unwrap();
    let path = ring.text(b"/srv/large");
    let modes = [
        "direct_write",
        "buffered_read",
        "buffered_write",
        "direct_read",
    ];
    let modes = modes.map(|mode| ring.text(mode.as_bytes()));
    for n in 0..MILLION {
        let first = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (1 << 32);
        ring.write(&Record {
            time: 1_000_000_000 + n * 10_000,
            process: 10,
            thread: 10 + (n % 4) as u32,
            kind: [Kind::Wait, Kind::Collision, Kind::Fallback][(n % 3) as usize],
            file: Some((1, 2)),
            path,
            range: Some((first, first + 4095)),
            mode: modes[(n / 7 % 4) as usize],
            other: Some(Other {
                process: 20 + (n % 5) as u32,
                program: *b"reader\0\0\0\0\0\0\0\0\0\0",
                mode: Text::NONE,
            }),
            reason: Text::NONE,
            done: Text::NONE,
            hint: Text::NONE,
            nanoseconds: n.is_multiple_of(3).then_some(n % 5000),
            call: None,
            contents: None,
        });
    }
}

#[test]
fn a_million_events_open_and_zoom_at_once() {
    // Some two seconds here; a slow machine, or one that does much else, takes longer.
    const WORK: Duration = Duration::from_secs(6);
    const MOST: Duration = Duration::from_secs(50);
    let fixture = traced(a_million);
    let Some(mut browser) = Browser::start() else {
        return skip("no chromium");
    };
    let page = page(&fixture);
    let size = page.metadata().unwrap().len();
    let opens = browser.open(&page);
    let open = browser.worked();
    let all = browser.text("#view");
    assert!(all.ends_with("; 1000000 events"), "{all}");
    browser.eval("document.getElementById('map').focus()");
    let begun = std::time::Instant::now();
    browser.key("+");
    another(&mut browser, &all);
    let zooms = begun.elapsed();
    let zoom = browser.worked() - open;
    println!(
        "1,000,000 events: a page of {size} bytes opens in {opens:.1?}, {open:.1?} of a processor, zooms in {zooms:.1?}, {zoom:.1?} of one"
    );
    assert!(open < WORK && zoom < WORK, "{open:?} {zoom:?}");
    assert!(opens < MOST && zooms < MOST, "{opens:?} {zooms:?}");
    assert!(size < 8 << 20, "{size}");
    assert_eq!(browser.complaints, [""; 0]);
}
