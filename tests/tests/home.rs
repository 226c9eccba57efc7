//! At home on a system: installed by `scripts/install-system` into a root of its own (this machine's, with what is changed in
//! it kept apart), used there by several users, upgraded while they are at it, and taken away again.

use pagefence_tests::machine::{FENCED, has_root, in_root, is, tearing};
use pagefence_tests::places::main_place;
use pagefence_tests::run::Outcome;

/// Those who race in the script are kept apart, on each filesystem where the bare kernel tears; what else it says is looked at.
fn all_are_kept_apart(script: &str, look: impl Fn(&Outcome)) {
    if !has_root() {
        return;
    }
    for place in tearing() {
        let outcome = in_root(&place, script);
        is(&outcome, &FENCED);
        look(&outcome);
    }
}

/// Bare they tear records; installed, with nothing said but `pagefence run`, they don't: by the machine's table and policy.
/// Meanwhile it is installed anew, and `status` shows them.
#[test]
fn users_of_one_machine_are_kept_apart() {
    const SCRIPT: &str = r#"
meanwhile() { :; }
for try in 1 2 3 4 5 6 7 8; do SECONDS_EACH=4 all env >bare; grep -q anomalies bare && break; done
cat bare
install_it; let_in
whole_records
meanwhile() { install_it; pagefence status >>status || true; }
echo fenced; all pagefence run --
for who in ann ben root; do grep -q "two_users.*$who" status && echo "$who seen"; done
ls -l /run/pagefence/table | cut -d' ' -f1,4; ls /dev/shm
"#;
    if !has_root() {
        return;
    }
    for place in tearing() {
        let outcome = in_root(&place, SCRIPT);
        is(&outcome, &["read: anomalies\n"]);
        let fenced = outcome
            .stdout
            .split_once("fenced\n")
            .map_or("", |(_, fenced)| fenced);
        for right in FENCED.into_iter().chain(["srw-rw---- pagefence", "seen"]) {
            assert!(
                fenced.contains(right),
                "{}: {right}: {}",
                place.name,
                outcome.report()
            );
        }
        assert!(
            !fenced.contains("pagefence-user"),
            "a table of a user's own: {}",
            outcome.report()
        );
    }
}

/// The same where each has mounts, processes and users of its own, among whom the machine's root is none. (What containers are
/// told by compose and Kubernetes: `packages`.)
#[test]
fn containers_with_users_of_their_own_are_kept_apart() {
    const SCRIPT: &str = r#"
meanwhile() { :; }
install_it; let_in
whole_records
as() { local user=$1; shift; setpriv --reuid "$user" --regid "$user" --init-groups -- \
    unshare --user --map-root-user --mount --pid --fork --mount-proc -- sh -c 'grep -c "" /proc/self/uid_map; exec "$@"' sh "$@"; }
all pagefence run --
ls /dev/shm
cd /run/pagefence; pagefence tabled --stop >&2; rm table*; chown nobody .; chmod 755 .
setpriv --reuid nobody --clear-groups pagefence tabled --background >&2; chmod 666 table
echo "@ nobody's"; setpriv --reuid ann --clear-groups pagefence run -- head -c 1 "$DATA/data" 2>&1 >/dev/null
"#;
    all_are_kept_apart(SCRIPT, |outcome| {
        let (shared, of_nobody) = outcome.stdout.split_once("@ nobody's\n").expect("both");
        assert!(!shared.contains("pagefence-user"), "{}", outcome.report());
        assert!(
            !outcome.stderr.contains("table_error"),
            "{}",
            outcome.report()
        );
        // Outside of such a container the user who has that number is one like any other.
        assert!(
            of_nobody.contains("permission denied"),
            "{}",
            outcome.report()
        );
    });
}

/// Two tables on one file exclude nothing: who can't join the machine's hears it, once for all that he starts, and how to mend
/// it; or is refused, if the policy says so. Who is in the group hears nothing.
#[test]
fn who_can_not_join_is_told_once_or_refused() {
    const SCRIPT: &str = r#"
install_it; let_in
twice() { as "$1" pagefence run -- sh -c 'head -c 1 data >/dev/null; head -c 1 data >/dev/null' 2>&1 | sed "s/^/$1: /"; }
echo "@ reported"; twice ann; twice eve
echo "@ preloaded"; as eve env LD_PRELOAD=/usr/local/lib/libpagefence.so head -c 1 data 2>&1 >/dev/null | sed "s/^/eve: /"
echo "@ refused"; printf '[defaults]\non_table_error = "refuse"\n' >/etc/pagefence/policy.toml
twice ann; twice eve
echo "@ read only"; rm /etc/pagefence/policy.toml
pagefence tabled --stop >&2; rm /run/pagefence/table; pagefence table create --table /run/pagefence/table >&2
mount --bind /run/pagefence /run/pagefence && mount -o remount,bind,ro /run/pagefence
twice ann
echo "@ none"; umount /run/pagefence; rm /run/pagefence/table; twice ann
"#;
    if !has_root() {
        return;
    }
    let outcome = in_root(&main_place(), SCRIPT);
    is(&outcome, &[]);
    let parts: Vec<&str> = outcome.stdout.split("@ ").skip(1).collect();
    let [reported, preloaded, refused, read_only, none] = parts.as_slice() else {
        panic!("{}", outcome.report());
    };
    let count = |text: &str, what| text.matches(what).count();
    const APART: &str = "pagefence: the machine's lock table (/run/pagefence/table) ";
    for (part, kind, hint) in [
        (reported, APART, "usermod -aG pagefence USER"),
        (
            preloaded,
            "pagefence: uncovered",
            "usermod -aG pagefence USER",
        ),
        (
            refused,
            "pagefence: table_error",
            "SupplementaryGroups=pagefence",
        ),
        (read_only, APART, "ReadWritePaths=/run/pagefence"),
        (none, APART, "systemctl start pagefence-table"),
    ] {
        assert_eq!(count(part, kind), 1, "{}", outcome.report());
        assert_eq!(count(part, hint), 1, "{}", outcome.report());
    }
    assert_eq!(
        count(refused, "eve: head: cannot open"),
        2,
        "{}",
        outcome.report()
    );
    assert_eq!(count(reported, "\nann"), 0, "{}", outcome.report());
    assert_eq!(count(refused, "\nann"), 0, "{}", outcome.report());
}

/// A member of the group may write the table. What he can do to it kills nobody and keeps nobody waiting; where it is a file
/// he can cut it off, and they die (SIGBUS): that is what the service is for.
#[test]
fn a_member_who_means_harm_kills_nobody() {
    const SCRIPT: &str = r#"
install_it; let_in; T=/run/pagefence/table; ls -ld /run/pagefence | cut -d' ' -f1
victim() { local status=0; as ann pagefence run -- "$PROGRAM" write data board 2 2>said || status=$?; echo "$1: victim ended with $status"; }
attack() { victim "$1" >ended & sleep 0.7; as ben "$HOSTILE" $T "$1" 2 || true; wait $!; cat ended; grep -o "table_error.*damaged" said | uniq; }
echo "@ served"; for what in cut replace lock empty scribble; do attack $what; pagefence tabled --stop >&2; install_it; done
echo "@ file"; pagefence tabled --stop >&2; rm $T; pagefence table create --table $T >&2; attack cut
"#;
    if !has_root() {
        return;
    }
    let outcome = in_root(&main_place(), SCRIPT);
    is(&outcome, &["drwxr-s---\n"]);
    let (served, file) = outcome
        .stdout
        .split_once("@ file\n")
        .expect("both, and after each other");
    for what in ["cut", "replace", "lock", "empty", "scribble"] {
        let lived = format!("wrote enough\n{what}: victim ended with 0\n");
        assert!(served.contains(&lived), "{what}: {}", outcome.report());
        // What excludes nobody any more is said.
        let (_, rest) = served.split_once(&lived).expect("it is there");
        assert_eq!(
            rest.starts_with("table_error"),
            ["empty", "scribble"].contains(&what),
            "{what}: {}",
            outcome.report()
        );
    }
    for refused in [
        "given: can't be cut off",
        "cut: Operation not permitted",
        "replace: Permission denied",
    ] {
        assert!(served.contains(refused), "{refused}: {}", outcome.report());
    }
    assert!(
        file.contains("cut: done\n") && file.contains("cut: victim ended with 135\n"),
        "a table that is a file can be cut off no more: is the service needed? {}",
        outcome.report()
    );
}

/// Who is in the table stays in it when its service is killed, and who comes later is given the same one.
#[test]
fn a_service_that_is_killed_is_no_loss() {
    const SCRIPT: &str = r#"
install_it; let_in
whole_records
kill_it() { kill -9 "$(cut -d' ' -f3 /run/pagefence/table.lock)"; }
again() { pagefence tabled --background >>again; }
meanwhile() { kill_it; again; }
all pagefence run --
sort -u again; ls /dev/shm
as ann pagefence run -- sh -c 'exec 3<data; echo $$; exec sleep 1000' >stands & until [ -s stands ]; do sleep 0.1; done
echo "@ killed"; kill_it
as ben pagefence run -- head -c 1 data 2>&1 >/dev/null
as ann pagefence run -- sh -c 'sleep 0.1; head -c 1 data' 2>&1 >/dev/null & sleep 0.5; again; wait $!
echo "@ silent"; kill -STOP "$(cut -d' ' -f3 /run/pagefence/table.lock)"
timeout 20 setpriv --reuid ben --regid ben --init-groups pagefence run -- head -c 1 data 2>&1 >/dev/null
"#;
    all_are_kept_apart(SCRIPT, |outcome| {
        let (before, after) = outcome.stdout.split_once("@ killed\n").expect("all of it");
        let kept = "/run/pagefence/table: handed out (the one that programs are in)\n";
        assert!(before.ends_with(kept), "{}", outcome.report());
        let (killed, silent) = after.split_once("@ silent\n").expect("all of it");
        let told = |text: &str, what| {
            assert_eq!(
                text.matches("pagefence: table_error").count(),
                1,
                "{}",
                outcome.report()
            );
            assert!(text.contains(what), "{what}: {}", outcome.report());
        };
        told(killed, "isn't running; start it anew");
        told(silent, "doesn't answer; start it anew");
    });
}

/// Where nothing is installed, or who isn't let in, has a table of his own: root, who can see that, hears of it, and of what is
/// used there, before his program runs.
#[test]
fn root_hears_of_other_users_tables() {
    const SCRIPT: &str = r#"
run() { "$PAGEFENCE_BUILT/pagefence" run -- "$@"; }
echo "@ alone"; run cat data board 2>&1 >/dev/null
as ann "$PAGEFENCE_BUILT/pagefence" run -- python3 -c '
import os, time
os.pread(os.open("data", os.O_RDONLY), 1, 0); print(os.getpid(), flush=True); time.sleep(1000)' >stands & until [ -s stands ]; do sleep 0.1; done
echo "@ beside"; run cat data board 2>&1 >/dev/null
echo "@ named"; PAGEFENCE_TABLE=/dev/shm/named run cat data 2>&1 >/dev/null
install_it
echo "@ installed"; run cat data board 2>&1 >/dev/null
kill "$(cat stands)"; wait || true
echo "@ after"; run cat data 2>&1 >/dev/null
"#;
    if !has_root() {
        return;
    }
    let outcome = in_root(&main_place(), SCRIPT);
    is(
        &outcome,
        &[
            "@ beside\npagefence: programs of other users are fenced in lock tables of their own: ann (/dev/shm/pagefence-user-",
        ],
    );
    let told = outcome.stdout.matches("lock tables of their own").count();
    assert_eq!(told, 2, "{}", outcome.report());
    let (beside, installed) = outcome.stdout.split_once("@ installed\n").expect("both");
    for (part, cure) in [
        (beside, "scripts/install-system"),
        (installed, "usermod -aG pagefence"),
    ] {
        for right in ["/data, ", "/stands; what they do", cure] {
            assert!(part.contains(right), "{right}: {}", outcome.report());
        }
    }
}

/// While somebody is in the table nothing is taken away, and then everything. What the administrator has written stays.
#[test]
fn what_is_taken_away_leaves_nothing() {
    const SCRIPT: &str = r#"
names() { find /etc /usr /run /var -xdev ! -name '*-' ! -path '*/__pycache__*' | sort; cat /etc/group; }
names >before
install_it; let_in
man -l /usr/local/share/man/man1/pagefence-run.1 >/dev/null && bash -c '. /usr/local/share/bash-completion/completions/pagefence'
as ann pagefence run -- sh -c 'exec 3<data; echo $$; exec sleep 1000' >stands & until [ -s stands ]; do sleep 0.1; done
take() { (cd "$PROJECT" && scripts/install-system --remove 2>&1); }
take && exit 1; pagefence run -- true && echo "still there"
kill "$(cat stands)"; wait || true
echo '[defaults]' >>/etc/pagefence/policy.toml; take; ls /etc/pagefence
install_it; cp "$PROJECT/scripts/system/policy.toml" /etc/pagefence; take
names >after; diff before after && echo nothing
"#;
    if !has_root() {
        return;
    }
    let outcome = in_root(&main_place(), SCRIPT);
    let told = [
        "stays, and with it all else",
        "still there",
        "policy.toml stays: it is yours",
        "\nnothing\n",
    ];
    is(&outcome, &told);
}

/// For a package: a tree, and nothing outside it.
#[test]
fn a_tree_is_filled_for_a_package() {
    const SCRIPT: &str = r#"
(cd "$PROJECT" && scripts/install-system --prefix /usr --root "$DATA/tree")
(cd tree && find . -type f | sort)
[ ! -e /run/pagefence ] && ! getent group pagefence && grep /usr/bin tree/usr/lib/systemd/system/pagefence-table.service
tree/usr/bin/pagefence run -- true
(cd "$PROJECT" && scripts/install-system --remove --prefix /usr --root "$DATA/tree"); find tree ! -type d
"#;
    if !has_root() {
        return;
    }
    let outcome = in_root(&main_place(), SCRIPT);
    let there = [
        "./etc/pagefence/policy.toml\n",
        "./usr/bin/pagefence\n",
        "./usr/lib/libpagefence.so\n",
        "./usr/lib/sysusers.d/pagefence.conf\n",
        "./usr/share/man/man1/pagefence.1\n",
        "ExecStart=/usr/bin/pagefence tabled",
    ];
    is(&outcome, &there);
    assert!(
        outcome.stdout.trim_end().ends_with("$TABLE_OPTIONS"),
        "what stays: {}",
        outcome.report()
    );
}
