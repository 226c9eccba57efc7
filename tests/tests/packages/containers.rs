//! The files for containers (scripts/system/container) do what they say: the image's steps are executed in a fresh Debian, and
//! its containers are made as compose and Kubernetes are told to, by namespaces and mounts, without an engine.

use super::{fresh_debian, packages};
use pagefence_tests::containers::{Container, Source, composed, image, of_kubernetes, quoted};
use pagefence_tests::machine::{FENCED, has_root, in_root_over, is, tearing};
use pagefence_tests::places::{Place, main_place};
use pagefence_tests::run::Outcome;
use std::fmt::Write;

/// What an engine does: mounts, processes, a /run and a /dev/shm of its own, what is shared mounted into it, and then its user
/// with its groups and no others. `LIKE=users` gives it users of its own, too, among whom the machine's root is none.
const ENGINE: &str = r#"
contained() {
    local user=(setpriv --reuid "${2%:*}" --regid "${2#*:}" ${3:+--groups "$3"}); [ -n "$3" ] || user+=(--clear-groups); user+=(--)
    local own=(unshare --mount --pid --ipc --uts --fork --kill-child --mount-proc) mounts=$DATA/mounts.$1
    shift 3
    local inside='set -eu; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /dev/shm
        while read -r source target only; do
            case $target in /run/*) mkdir -p "$target" ;; esac
            mount --bind "$source" "$target"
            [ "$only" = rw ] || mount -o "remount,bind,$only" "$target"
        done <"$1"
        [ ! -d /data ] || cd /data
        shift; exec "$@"'
    if [ "${LIKE-}" = users ]; then "${user[@]}" "${own[@]}" --user --map-root-user -- sh -c "$inside" sh "$mounts" "$@"
    else "${own[@]}" -- sh -c "$inside" sh "$mounts" "${user[@]}" "$@"; fi
}
"#;

/// The race of `two_users`: `application` writes, the others read.
const RACE: &str = r#"
all() {
    application "$@" "$PROGRAM" write store "$DATA/board" "$SECONDS_EACH" &
    reports "$@" "$PROGRAM" read store "$DATA/board" "$SECONDS_EACH" &
    backup "$@" "$PROGRAM" copy 'tar -cf - store 2>/dev/null | tar -xOf - store' "$DATA/board" "$SECONDS_EACH" &
    wait $(jobs -p | tail -3)
}
for try in 1 2 3 4 5 6 7 8; do SECONDS_EACH=4 all env >bare; grep -q anomalies bare && break; done
cat bare
# Whose table it is has the group as a number of his.
LIKE= start >tabled 2>&1 & for try in $(seq 100); do [ ! -S "$TABLE" ] || break; sleep 0.1; done; cat tabled >&2
echo "@ fenced"; all $ENTRYPOINT
find "$DATA/volumes" -type s | sed "s|.*/|socket |"; LIKE= table pagefence table show /run/pagefence/table >&2
echo "@ own"; own | sort
"#;

/// The image's steps, in the root that this runs in.
fn build() -> String {
    let image = image();
    assert!(
        image.base.starts_with("debian:bookworm"),
        "the test's Debian: {}",
        image.base
    );
    let mut script = "mkdir context; cp \"$DEB\" context; cd context\n".to_owned();
    for (from, to) in &image.copies {
        writeln!(script, "cp {from} {}", quoted(to)).unwrap();
    }
    for run in &image.runs {
        writeln!(script, "(cd /; sh -c {}) >&2", quoted(run)).unwrap();
    }
    let entrypoint = image.entrypoint.join(" ");
    writeln!(script, "ENTRYPOINT={}; cd ..", quoted(&entrypoint)).unwrap();
    script
}

/// A function of the shell for each, and what is shared.
fn functions(containers: &[Container]) -> String {
    let mut script = String::new();
    for one in containers {
        let mut mounts = String::new();
        for mount in &one.mounts {
            let source = match &mount.source {
                Source::Volume(name) => format!("$DATA/volumes/{}", name.trim_matches('/')),
                Source::Text(text) => {
                    writeln!(script, "printf %s {} >\"$DATA/policy\"", quoted(text)).unwrap();
                    "$DATA/policy".to_owned()
                }
            };
            if let Source::Volume(_) = mount.source {
                writeln!(
                    script,
                    "mkdir -p \"{source}\"; case {0} in /run/*) TABLE={source}/table ;; *) mkdir -p {0}; STORE={source}/store ;; esac",
                    mount.target
                )
                .unwrap();
            }
            let only = if mount.read_only { "ro" } else { "rw" };
            writeln!(mounts, "{source} {} {only}", mount.target).unwrap();
        }
        let (name, user, groups) = (&one.name, &one.user, one.groups.join(","));
        writeln!(
            script,
            "cat >\"$DATA/mounts.{name}\" <<END\n{mounts}END\n{name}() {{ contained {name} {user} '{groups}' \"$@\"; }}"
        )
        .unwrap();
    }
    let words = |words: &[String]| {
        words
            .iter()
            .map(|w| quoted(w))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut own = "own() {\n".to_owned();
    for one in containers {
        let command = words(&one.command);
        match &one.entrypoint {
            Some(entrypoint) => {
                writeln!(script, "start() {{ {} {} {command}; }}", one.name, words(entrypoint)).unwrap();
            }
            None => writeln!(
                own,
                "status=0; {0} timeout 2 $ENTRYPOINT {command} >own 2>&1 || status=$?; echo \"{0} $status\"; grep pagefence own || true",
                one.name
            )
            .unwrap(),
        }
    }
    script
        + &own
        + "}\nhead -c 1048576 /dev/zero >\"$STORE\"; head -c 4096 /dev/zero >\"$DATA/board\"; chmod 666 \"$STORE\" \"$DATA/board\"\n"
}

fn race(place: &Place, containers: &[Container], before: &str) -> Outcome {
    let names: Vec<_> = containers.iter().map(|one| one.name.as_str()).collect();
    for name in ["table", "application", "reports", "backup"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let script = [&build(), ENGINE, before, &functions(containers), RACE].concat();
    let outcome = in_root_over(
        &fresh_debian(),
        place,
        &script,
        &[("DEB", packages().deb.as_path())],
    );
    is(&outcome, &["read: anomalies\n"]);
    let (_, rest) = outcome.stdout.split_once("@ fenced\n").expect("both");
    let (fenced, own) = rest.split_once("@ own\n").expect("all of it");
    for right in FENCED.into_iter().chain(["socket table\n"]) {
        assert!(fenced.contains(right), "{right}: {}", outcome.report());
    }
    // Each is ended by its limit, and Pagefence has nothing to say.
    assert_eq!(
        own,
        "application 124\nbackup 124\nreports 124\n",
        "{}",
        outcome.report()
    );
    outcome
}

#[test]
fn containers_of_compose_are_kept_apart() {
    if !has_root() {
        return;
    }
    for place in tearing() {
        race(&place, &composed(), "");
    }
}

#[test]
fn containers_of_kubernetes_are_kept_apart() {
    if has_root() {
        race(&main_place(), &of_kubernetes(), "");
    }
}

/// As podman makes them, and Kubernetes with `hostUsers: false`. All but the table's.
#[test]
fn containers_with_users_of_their_own_are_kept_apart() {
    if has_root() {
        race(&main_place(), &composed(), "LIKE=users\n");
    }
}
