//! Which settings a file gets, who says so, and that asking costs no allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use policy::*;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting what each thread asks of it.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const POLICY: &str = r#"
table = "/dev/shm/locks"

[defaults]
lock_timeout = "5s"
io_uring = "allow"
coverage = "syscalls"

[[rule]]
name = "innodb"
path = ["/var/lib/mysql/**/*.ibd"]
program = ["mariadbd", "mariabackup*"]
filesystem = ["ext4", "xfs"]
isolation = "atomic"
lock_timeout = "2m"

[[rule]]
path = ["/var/lib/**", "/srv/*/log?"]
mode = "observe"

[[rule]]
name = "scratch"
path = ["/tmp/**"]
mode = "off"
"#;

fn parsed() -> Policy {
    Policy::parse(POLICY, "p.toml").unwrap()
}

fn rule_for(path: &str, program: &str, filesystem: &str) -> Option<usize> {
    let explanation = parsed().explain(path, program, filesystem);
    explanation.rule.map(|rule| rule.index)
}

#[test]
fn the_built_in_policy_enforces() {
    let settings = Policy::built_in().settings_for("/any/file", "any", "ext4");
    assert_eq!(settings, Settings::BUILT_IN);
    assert_eq!(settings.mode, Mode::Enforce);
    assert_eq!(settings.lock_timeout, Duration::from_secs(30));
    assert_eq!(Policy::built_in().table(), None);
    assert_eq!(
        *Policy::parse("", "empty").unwrap().defaults(),
        Settings::BUILT_IN
    );
}

#[test]
fn the_first_rule_whose_conditions_all_hold_decides() {
    assert_eq!(
        rule_for("/var/lib/mysql/db/t.ibd", "mariadbd", "xfs"),
        Some(1)
    );
    assert_eq!(
        rule_for("/var/lib/mysql/t.ibd", "mariabackup-10", "ext4"),
        Some(1)
    );
    assert_eq!(rule_for("/var/lib/mysql/db/t.ibd", "cat", "xfs"), Some(2));
    assert_eq!(
        rule_for("/var/lib/mysql/db/t.ibd", "mariadbd", "btrfs"),
        Some(2)
    );
    assert_eq!(
        rule_for("/var/lib/mysql/db/t.frm", "mariadbd", "xfs"),
        Some(2)
    );
    assert_eq!(rule_for("/tmp/x/y", "cat", "other"), Some(3));
    assert_eq!(rule_for("/home/t.ibd", "mariadbd", "xfs"), None);
}

#[test]
fn one_star_stays_in_its_directory() {
    assert_eq!(rule_for("/srv/a/log1", "cat", "ext4"), Some(2));
    assert_eq!(rule_for("/srv/a/b/log1", "cat", "ext4"), None);
    assert_eq!(rule_for("/srv/a/log", "cat", "ext4"), None);
    assert_eq!(rule_for("/srv/.hidden/log1", "cat", "ext4"), Some(2));
    assert_eq!(rule_for("/var/libx", "cat", "ext4"), None);
}

#[test]
fn what_a_rule_leaves_out_comes_from_the_defaults_and_then_is_built_in() {
    let policy = parsed();
    let innodb = policy.settings_for("/var/lib/mysql/t.ibd", "mariadbd", "xfs");
    assert_eq!(innodb.isolation, Isolation::Atomic);
    assert_eq!(innodb.lock_timeout, Duration::from_secs(120));
    assert_eq!(innodb.io_uring, IoUring::Allow);
    assert_eq!(innodb.coverage, Coverage::Syscalls);
    assert_eq!(Policy::built_in().defaults().coverage, Coverage::Calls);
    assert_eq!(innodb.mode, Mode::Enforce);
    let other = policy.settings_for("/var/lib/x", "cat", "xfs");
    assert_eq!(other.lock_timeout, Duration::from_secs(5));
    assert_eq!(other.isolation, Isolation::Coherent);
    assert_eq!(policy.table().unwrap().to_str(), Some("/dev/shm/locks"));
}

#[test]
fn defaults_hold_for_rules_above_them_too() {
    let text = "[[rule]]\npath = [\"/a\"]\n[defaults]\nmode = \"observe\"\n";
    let policy = Policy::parse(text, "p").unwrap();
    assert_eq!(policy.settings_for("/a", "p", "ext4").mode, Mode::Observe);
}

#[test]
fn who_enforces_may_route() {
    let rule = "[[rule]]\nname = \"db\"\npath = [\"/db/**\"]\nroute = \"buffered\"\n";
    let policy = Policy::parse(rule, "p").unwrap();
    let route = |policy: &Policy, path: &str| {
        let settings = policy.settings_for(path, "p", "ext4");
        (settings.route, settings.is_routed())
    };
    assert_eq!(route(&policy, "/db/t"), (Route::Buffered, true));
    assert_eq!(route(&policy, "/other"), (Route::AsAsked, false));
    assert!(policy.routes() && !Policy::built_in().routes());
    let explanation = policy.explain("/db/t", "p", "ext4");
    let value = &explanation.values[Key::Route as usize];
    assert_eq!(
        format!("{} from {}", value.value, value.origin),
        "buffered from rule \"db\" at p:4"
    );
    // Who only looks on changes nothing.
    let (observe, _) = Overrides::from_words(Some("observe"), None, None);
    let policy = policy.with_overrides(observe);
    assert_eq!(route(&policy, "/db/t"), (Route::Buffered, false));
    assert!(!policy.routes());
}

#[test]
fn who_enforces_may_go_past_the_cache() {
    let policy = Policy::parse("[defaults]\nroute = \"direct\"\n", "p").unwrap();
    let settings = policy.settings_for("/a", "p", "ext4");
    assert!(settings.goes_past() && !settings.is_routed() && !policy.routes());
    let (observe, _) = Overrides::from_words(Some("observe"), None, None);
    let policy = policy.with_overrides(observe);
    assert!(!policy.settings_for("/a", "p", "ext4").goes_past());
}

#[test]
fn all_calls_are_recorded_where_a_rule_says_so() {
    let text = "[[rule]]\npath = [\"/db/**\"]\ntrace = \"all\"\n[[rule]]\npath = [\"/off/**\"]\nmode = \"off\"\n\
                trace = \"all\"\n";
    let policy = Policy::parse(text, "p.toml").unwrap();
    let records = |path: &str| policy.settings_for(path, "any", "ext4").records_calls();
    assert!(records("/db/t") && !records("/other") && !records("/off/t"));
    assert!(policy.records_calls() && !Policy::built_in().records_calls());
    let value = |path: &str| {
        let values = policy.explain(path, "any", "ext4").values;
        values
            .into_iter()
            .find(|value| value.key == Key::Trace)
            .unwrap()
    };
    let said = value("/db/t");
    assert_eq!(
        (said.value.as_str(), said.origin.to_string().as_str()),
        ("all", "rule 1 at p.toml:3")
    );
    let said = value("/other");
    assert_eq!(
        (said.value.as_str(), said.origin),
        ("mixed", Origin::BuiltIn)
    );
}

#[test]
fn every_value_says_where_it_comes_from() {
    let explanation = parsed().explain("/var/lib/mysql/t.ibd", "mariadbd", "xfs");
    let origin = |name: &str| {
        let found = explanation
            .values
            .iter()
            .find(|value| value.key.name() == name);
        let found = found.unwrap();
        format!("{} from {}", found.value, found.origin)
    };
    assert_eq!(
        origin("isolation"),
        "atomic from rule \"innodb\" at p.toml:14"
    );
    assert_eq!(
        origin("lock_timeout"),
        "2m from rule \"innodb\" at p.toml:15"
    );
    assert_eq!(origin("io_uring"), "allow from [defaults] at p.toml:6");
    assert_eq!(origin("coverage"), "syscalls from [defaults] at p.toml:7");
    assert_eq!(origin("mode"), "enforce from built in");
    assert_eq!(explanation.values.len(), Key::COUNT);
    let rule = explanation.rule.unwrap();
    assert_eq!((rule.index, rule.line), (1, 9));

    let explanation = parsed().explain("/srv/a/log1", "cat", "xfs");
    let mode = &explanation.values[Key::Mode as usize];
    assert_eq!(mode.origin.to_string(), "rule 2 at p.toml:19");
    assert_eq!(explanation.skipped.len(), 1);
    assert_eq!(explanation.skipped[0].condition, "path");
}

#[test]
fn overrides_of_a_run_leave_off_alone() {
    let (overrides, unknown) = Overrides::from_words(Some("observe"), Some("atomic"), None);
    assert_eq!(unknown, None);
    let policy = parsed().with_overrides(overrides);
    let usual = policy.settings_for("/home/x", "cat", "xfs");
    assert_eq!(
        (usual.mode, usual.isolation),
        (Mode::Observe, Isolation::Atomic)
    );
    let innodb = policy.settings_for("/var/lib/mysql/t.ibd", "mariadbd", "xfs");
    assert_eq!(innodb.mode, Mode::Observe);
    let off = policy.settings_for("/tmp/x", "cat", "xfs");
    assert_eq!((off.mode, off.isolation), (Mode::Off, Isolation::Atomic));
    let origin = |path: &str, key: Key| {
        let explanation = policy.explain(path, "cat", "xfs");
        explanation.values[key as usize].origin.to_string()
    };
    assert_eq!(
        origin("/home/x", Key::Mode),
        "environment variable PAGEFENCE_MODE"
    );
    assert_eq!(origin("/tmp/x", Key::Mode), "rule \"scratch\" at p.toml:24");
    assert_eq!(
        origin("/tmp/x", Key::Isolation),
        "environment variable PAGEFENCE_ISOLATION"
    );
}

#[test]
fn unknown_override_words_override_nothing_and_are_named() {
    let (overrides, unknown) = Overrides::from_words(Some("observ"), None, None);
    assert_eq!(overrides, Overrides::default());
    assert_eq!(unknown, Some("PAGEFENCE_MODE"));
    let (_, unknown) = Overrides::from_words(Some(""), Some("all"), None);
    assert_eq!(unknown, Some("PAGEFENCE_ISOLATION"));
}

#[test]
fn the_kernels_own_filesystems_are_never_fenced() {
    let policy = Policy::parse("[[rule]]\npath = [\"/**\"]\nmode = \"enforce\"", "p").unwrap();
    let name = filesystem_name(0x9fa0);
    assert_eq!(name, "proc");
    assert_eq!(
        policy.settings_for("/proc/self/status", "cat", name).mode,
        Mode::Off
    );
    assert_eq!(filesystem_name(0xef53), "ext4");
    // f_type is signed on some machines: the sign must not matter.
    assert_eq!(
        filesystem_name(0x9123_683e_u32 as i32 as i64 as u64),
        "btrfs"
    );
    assert_eq!(filesystem_name(1), "other");
}

#[test]
fn paths_that_are_not_text_are_matched_too() {
    let policy = parsed();
    assert_eq!(
        policy.settings_for(b"/tmp/\xff\xfe/x", "cat", "xfs").mode,
        Mode::Off
    );
    let rule = policy.explain(b"/srv/a/log\xff", "cat", "xfs").rule;
    assert_eq!(rule.map(|rule| rule.index), Some(2));
    let long = [b"/tmp/\xff".as_slice(), &[b'x'; 5000]].concat();
    assert_eq!(policy.settings_for(long, "cat", "xfs").mode, Mode::Off);
}

#[test]
fn matching_allocates_nothing() {
    let policy = parsed();
    let before = ALLOCATIONS.get();
    for path in [
        b"/var/lib/mysql/db/t.ibd".as_slice(),
        b"/srv/\xff/log1",
        b"/home/x",
    ] {
        std::hint::black_box(policy.settings_for(path, "mariadbd", "xfs"));
    }
    assert_eq!(ALLOCATIONS.get(), before);
    std::hint::black_box(Box::new(1));
    assert_eq!(ALLOCATIONS.get(), before + 1, "the counter counts");
}
