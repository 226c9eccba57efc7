//! Pagefence from packages: made by `scripts/package`, installed into a fresh Debian, used there by several users, upgraded
//! while they are at it, and purged.

mod containers;

use pagefence_tests::machine::{FENCED, built, has_root, in_root_over, is, project, tearing};
use pagefence_tests::places::main_place;
use pagefence_tests::{artefacts, fence::found};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn output(command: &mut Command) -> String {
    let done = command.current_dir(project()).output().expect("a program");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
    String::from_utf8(done.stdout).expect("text")
}

fn shell(script: &str, arguments: &[&Path]) -> String {
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", script, "-"]);
    output(shell.args(arguments))
}

/// Makes them below the workspace, which the roots have in them, too. They stay until they are made anew.
fn make(name: &str, arguments: &[&str]) -> Vec<PathBuf> {
    let directory = project().join("target/packages").join(name);
    let mut package = Command::new("scripts/package");
    package.args(arguments).arg("--out").arg(directory);
    let names = output(package.env("PAGEFENCE_BUILT", built()));
    names.lines().map(PathBuf::from).collect()
}

struct Packages {
    deb: PathBuf,
    newer: PathBuf,
    rpm: PathBuf,
}

fn packages() -> &'static Packages {
    static MADE: OnceLock<Packages> = OnceLock::new();
    MADE.get_or_init(|| {
        let both = make("tested", &[]).try_into();
        let newer = make("newer", &["--deb", "--revision", "2"]).try_into();
        let ([deb, rpm], [newer]) = (both.expect("two packages"), newer.expect("one package"));
        Packages { deb, newer, rpm }
    })
}

/// The release that this machine has, with nothing in it but what each Debian has.
fn fresh_debian() -> PathBuf {
    let release = shell(". /etc/os-release; echo $VERSION_CODENAME", &[]);
    let release = release.trim_end();
    let roots = project().join("target/roots");
    let mut make = Command::new("scripts/roots");
    make.arg("--fresh").arg(&roots);
    output(make.args([release, "--", "true"]));
    roots.join(format!("{release}-fresh"))
}

/// What a package, or the lack of one, leaves on a machine; what dpkg and others keep of all packages left out.
const NAMES: &str = r#"
names() {
    find /etc /usr /run /var -xdev ! -name '*-' ! -path '/var/lib/dpkg/*-old' ! -path '/var/lib/rpm*' ! -path '/var/cache/*' ! -path '/var/log/*' ! -path /run/adduser |
        sort
    cat /etc/group
}
"#;

/// Bare they tear records; in a fresh Debian with the package installed they don't, by the machine's table and policy, and an
/// upgrade meanwhile breaks none of them. Who isn't let in hears it once. Purged, nothing is left.
#[test]
fn users_of_a_fresh_debian_are_kept_apart() {
    const SCRIPT: &str = r#"
dpkg() { command dpkg "$@" 2>&1; }
names >before
meanwhile() { :; }
for try in 1 2 3 4 5 6 7 8; do SECONDS_EACH=4 all env >bare; grep -q anomalies bare && break; done
cat bare
dpkg -i "$DEB" >&2
adduser --quiet ann pagefence; adduser --quiet ben pagefence
whole_records
library() { stat -c %i /usr/lib/libpagefence.so; }
first=$(library)
meanwhile() {
    pagefence status >>"status$([ -e upgraded ] && echo 2)" || true
    # When both who stay in the table are in it.
    [ ! -e upgraded ] && grep -q "two_users.*ann" status && grep -q "two_users.*ben" status || return 0
    dpkg -i "$NEWER" >&2 && [ "$(jobs -r | wc -l)" = 3 ] && touch upgraded
}
# Long enough for dpkg on a busy machine.
[ "$SECONDS_EACH" -gt 10 ] || SECONDS_EACH=10
echo "@ fenced"; all pagefence run --
[ "$first" != "$(library)" ] && [ -e upgraded ] && dpkg-query -W pagefence
# In one table, before and after; root's program is in it only now and then.
for who in ann ben root; do cat status status2 | grep -q "two_users.*$who" && echo "$who seen"; done
for who in ann ben; do grep -q "two_users.*$who" status2 && echo "$who still"; done
echo "@ eve"; as eve pagefence run -- sh -c 'head -c 1 data >/dev/null; head -c 1 data >/dev/null' 2>&1
echo "@ demo"; as ann "$RACE" . | tail -1; as ann pagefence run -- "$RACE" . | tail -1
echo "@ purged"
as ann pagefence run -- sh -c 'echo $$; exec "$PROGRAM" read data board 1000' >stands & until pagefence status | grep -q two_users; do sleep 0.1; done
dpkg --purge pagefence >said && exit 1; grep 'says who is in it' said; pagefence run -- true && echo "still there"
kill "$(cat stands)"; wait || true
dpkg --purge pagefence >&2
names >after; diff before after && echo nothing
"#;
    if !has_root() {
        return;
    }
    let (debian, made) = (fresh_debian(), packages());
    let race = found(artefacts::app("next-page"));
    for place in tearing() {
        let variables = [
            ("DEB", made.deb.as_path()),
            ("NEWER", &made.newer),
            ("RACE", &race),
        ];
        let outcome = in_root_over(&debian, &place, &[NAMES, SCRIPT].concat(), &variables);
        is(&outcome, &[]);
        let parts: Vec<&str> = outcome.stdout.split("@ ").collect();
        let [bare, fenced, eve, demo, purged] = parts.as_slice() else {
            panic!("{}: {}", place.name, outcome.report());
        };
        let has = |part: &str, right: &str| {
            let report = outcome.report();
            assert!(part.contains(right), "{}: {right}: {report}", place.name);
        };
        has(bare, "read: anomalies\n");
        for right in FENCED {
            has(fenced, right);
        }
        has(
            fenced,
            "\npagefence\t0.1.0-2\nann seen\nben seen\nroot seen\nann still\nben still\n",
        );
        assert_eq!(
            eve.matches("usermod -aG pagefence").count(),
            1,
            "{}",
            outcome.report()
        );
        let (bare, fenced) = demo
            .trim_start_matches("demo\n")
            .split_once('\n')
            .unwrap_or_default();
        assert!(!bare.starts_with("anomalies=0 "), "{}", outcome.report());
        has(fenced, "anomalies=0 ");
        has(
            purged,
            "/run/pagefence/table stays, and with it all else: pagefence status /run/pagefence/table says who is in it\nstill there\n",
        );
        has(purged, "\nnothing\n");
    }
}

/// Where systemd is installed the unit is enabled once, and what the administrator has said of it stays, as his policy does.
#[test]
fn what_the_administrator_says_outlives_upgrades() {
    const SCRIPT: &str = r#"
names >before
link=/etc/systemd/system/sysinit.target.wants/pagefence-table.service
dpkg -i "$DEB" >&2; readlink $link; getent group pagefence | cut -d: -f1; stat -c '%A %U %G' /run/pagefence
systemctl disable --quiet pagefence-table.service; echo '# ours' >>/etc/pagefence/policy.toml
dpkg -i "$NEWER" >&2; [ -e $link ] || echo disabled; tail -1 /etc/pagefence/policy.toml
dpkg --remove pagefence >&2; ls /etc/pagefence; dpkg --purge pagefence >&2
names >after; diff before after && echo nothing
"#;
    if !has_root() {
        return;
    }
    let made = packages();
    let variables = [("DEB", made.deb.as_path()), ("NEWER", &made.newer)];
    let script = [NAMES, SCRIPT].concat();
    let outcome = in_root_over(Path::new("/"), &main_place(), &script, &variables);
    let right = [
        "/lib/systemd/system/pagefence-table.service\npagefence\ndrwxr-s--- root pagefence\ndisabled\n# ours\n",
        "\npolicy.toml\nnothing\n",
    ];
    is(&outcome, &right);
}

/// The same by rpm, as far as this system takes it: the scripts, and what is left.
#[test]
fn an_rpm_has_the_same_in_it() {
    const SCRIPT: &str = r#"
names >before
rpm() { command rpm --force-debian --nodeps "$@" >&2; }
rpm -i "$RPM"; getent group pagefence | cut -d: -f1; ls /run/pagefence; as eve pagefence run -- true && echo runs
rpm -U --force "$RPM"; ls /run/pagefence
pagefence run -- sh -c 'echo $$; exec "$PROGRAM" read data board 1000' >stands & until pagefence status | grep -q two_users; do sleep 0.1; done
rpm -e pagefence || echo refused; ls /usr/bin/pagefence; kill "$(cat stands)"; wait || true
rpm -e pagefence; names >after; diff before after && echo nothing
"#;
    if !has_root() {
        return;
    }
    let made = packages();
    let of_deb = "dpkg-deb --fsys-tarfile \"$1\" | tar -tv | grep -v '^d' | awk '{print $1, $3, substr($6, 2)}' | sort";
    let of_rpm = "rpm -qplv \"$1\" | grep -v '^d' | awk '{print $1, $5, $9}' | sort";
    let both = (shell(of_deb, &[&made.deb]), shell(of_rpm, &[&made.rpm]));
    assert!(both.0.contains("/usr/lib/libpagefence.so\n"), "{}", both.0);
    assert_eq!(both.0, both.1);
    let outcome = in_root_over(
        Path::new("/"),
        &main_place(),
        &[NAMES, SCRIPT].concat(),
        &[("RPM", &made.rpm)],
    );
    let right = [
        "pagefence\ntable\ntable.lock\nruns\ntable\ntable.lock\nrefused\n/usr/bin/pagefence\nnothing\n",
    ];
    is(&outcome, &right);
}

/// Byte by byte, from the same binaries, wherever and whenever.
#[test]
fn the_same_binaries_make_the_same_packages() {
    if !has_root() {
        return;
    }
    let made = packages();
    let again = make("again", &[]);
    for (one, other) in [&made.deb, &made.rpm].into_iter().zip(&again) {
        let same = fs::read(one).expect("a package") == fs::read(other).expect("a package");
        assert!(same, "{} and {}", one.display(), other.display());
    }
}

/// What is in it besides binaries: policies that are right, all licences, and a glibc that has all that the binaries need.
#[test]
fn a_package_says_what_it_needs_and_whose_it_is() {
    if !has_root() {
        return;
    }
    let deb = &packages().deb;
    let tree = deb.with_extension("tree");
    let _ = fs::remove_dir_all(&tree);
    let needs = shell("dpkg-deb -f \"$1\" Depends", &[deb]);
    let newest = shell(
        "dpkg-deb -x \"$1\" \"$2\"; objdump -T \"$2\"/usr/bin/pagefence \"$2\"/usr/lib/*.so | grep -o ' (\\?GLIBC_[0-9.]*' | tr -d ' (' | sort -uV | tail -1",
        &[deb, &tree],
    );
    let newest = newest.trim_end().trim_start_matches("GLIBC_");
    assert!(
        needs.contains(&format!("libc6 (>= {newest})")),
        "{newest}: {needs}"
    );
    let mut examples = 0;
    for example in fs::read_dir(tree.join("usr/share/doc/pagefence"))
        .expect("documents")
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "toml"))
    {
        let mut check = Command::new(tree.join("usr/bin/pagefence"));
        output(check.args(["policy", "check"]).arg(example.path()));
        examples += 1;
    }
    assert!(examples > 2, "{examples}");
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let packed = fs::read(tree.join("usr/share/doc/pagefence").join(licence));
        let ours = fs::read(project().join(licence)).expect("a licence");
        assert!(packed.is_ok_and(|packed| packed == ours), "{licence}");
    }
    let copyright = fs::read_to_string(tree.join("usr/share/doc/pagefence/copyright"));
    let copyright = copyright.expect("a list of licences");
    let listed: BTreeSet<&str> = copyright
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once(": "))
        .filter(|(_, licence)| !licence.trim().is_empty())
        .map(|(crate_, _)| crate_)
        .filter(|name| name.split(' ').count() == 2)
        .collect();
    // Asked from Cargo in another way.
    let mut tree = Command::new("cargo");
    tree.args(["tree", "--locked", "--edges", "normal,no-proc-macro"]);
    tree.args(["--prefix", "none", "--format", "{p}"]);
    tree.args(["-p", "pagefence-shim", "-p", "pagefence-cli"]);
    let tree = output(&mut tree);
    let linked: BTreeSet<String> = tree
        .lines()
        .filter(|line| !line.is_empty() && !line.contains("(/"))
        .map(|line| line.replacen(" v", " ", 1))
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect();
    assert!(linked.len() > 50, "{linked:?}");
    let without: Vec<_> = linked
        .iter()
        .filter(|name| !listed.contains(name.as_str()))
        .collect();
    assert!(without.is_empty(), "no licence: {without:?}");
}
