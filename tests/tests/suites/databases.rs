//! Databases that are killed while they write, and recover: nothing is lost that was acknowledged, bare or fenced, while
//! somebody copies their files past the cache.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use lock_table::{Geometry, Table};
use pagefence_tests::compare::Comparison;
use pagefence_tests::fence::Fence;
use pagefence_tests::places::{Place, main_place, places};

use super::{bash, is_long};

/// PostgreSQL doesn't run as root.
const NOBODY: u32 = 65534;

const POSTGRES: &str = r#"
export PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH HOME=$PWD
sql() { psql -h "$PWD" -U u -d postgres -XAtqc "$1"; }
# What was killed may still be going.
start() { for i in $(seq 100); do pg_ctl -D data -w -t 60 -l log start >/dev/null 2>&1 && return; sleep 0.2; done; cat log; false; }
initdb -D data -A trust -U u -k -N >/dev/null
echo "listen_addresses='' unix_socket_directories='$PWD' shared_buffers=8MB checkpoint_timeout=30s" | tr ' ' '\n' >>data/postgresql.conf
start
sql "CREATE TABLE t (who int, n int, v text, PRIMARY KEY (who, n))"
for round in $rounds; do
    for who in 1 2 3; do (
        n=$(cat acked-$who 2>/dev/null || echo 0)
        while sql "INSERT INTO t SELECT $who, $((n + 1)), repeat(md5('$who $n'), 60)" 2>/dev/null; do n=$((n + 1)); echo $n >acked-$who; done
    ) & done
    # A backup that reads past the cache, at the same time.
    (for n in 1 2 3; do find data/base/5 data/pg_wal -type f -size +30k -exec dd if={} of=/dev/null bs=64k iflag=direct status=none \; ; done 2>/dev/null) &
    sleep 2
    postmaster=$(head -1 data/postmaster.pid)
    kill -9 $postmaster $(cat /proc/$postmaster/task/*/children) 2>/dev/null || true
    wait
    start
    for who in 1 2 3; do acked=$(cat acked-$who); sql "SELECT count(*) = $acked FROM t WHERE who = $who AND n <= $acked AND v = repeat(md5('$who ' || n - 1), 60)"; done
done
sql "SELECT count(*) > 20 FROM t; DELETE FROM t WHERE n % 2 = 0"; sql "VACUUM FULL t"; sql "SELECT count(*) FROM t WHERE n % 2 = 0"
pg_amcheck -h "$PWD" -U u -d postgres --install-missing && echo sound
pg_dump -h "$PWD" -U u postgres >dump; grep -c COPY dump
pg_ctl -D data -w -m fast stop >/dev/null
pg_checksums -D data --check | grep -E 'Bad|Checksum'
# What the device holds.
find data/base -type f -size +7k -exec sh -c 'dd if=$1 iflag=direct bs=64k status=none | cmp - $1' sh {} \; && echo written
rm -r data dump log acked-*
"#;

fn postgres(place: &Place, rounds: &str) {
    let fence = Fence::new();
    // Root's, or the tests wouldn't look into it; and that user's group's, or he wouldn't join it.
    Table::create(&fence.table_name(), &Geometry::default()).expect("a table");
    let table = fence.table();
    let dir = table.parent().expect("a directory of ours");
    let files = std::fs::read_dir(dir).expect("a directory of ours");
    let files = files.map(|file| (file.expect("a file of ours").path(), 0o660));
    for (path, mode) in files.chain([(dir.to_owned(), 0o770)]) {
        std::os::unix::fs::chown(&path, None, Some(NOBODY)).expect("chown of ours");
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod of ours");
    }
    let comparison = Comparison::new("postgres").limit(240);
    let bare = comparison.check(place, &[("fenced", fence)], |dir| {
        let mut command = bash(POSTGRES)(dir);
        command.uid(NOBODY).gid(NOBODY).env("rounds", rounds);
        command
    });
    assert_eq!(bare.code(), 0, "bare on {}: {}", place.name, bare.report());
}

#[test]
fn postgres_that_is_killed() {
    match is_long("PostgreSQL on the other filesystems, and killed twice") {
        true => places().iter().for_each(|place| postgres(place, "1 2")),
        false => postgres(&main_place(), "1"),
    }
}

const MARIADB: &str = r#"
mariadb-install-db --no-defaults --auth-root-authentication-method=normal --user=root --datadir="$PWD/data" --skip-test-db >/dev/null 2>&1
server=''
start() {
    mariadbd --no-defaults --user=root --datadir="$PWD/data" --socket="$PWD/s" --skip-networking --pid-file="$PWD/pid" \
        --innodb-buffer-pool-size=16M --innodb-flush-method=O_DIRECT >>log 2>&1 &
    server=$!
    for i in $(seq 300); do sql 'SELECT 1' >/dev/null 2>&1 && return; sleep 0.1; done
    cat log; exit 1
}
sql() { mariadb --no-defaults -uroot -S "$PWD/s" -BNe "$1"; }
start
sql "CREATE DATABASE d; CREATE TABLE d.t (who int, n int, v text, PRIMARY KEY (who, n)) ENGINE=InnoDB"
for round in 1 2; do
    for who in 1 2 3; do (
        n=$(cat acked-$who 2>/dev/null || echo 0)
        while sql "INSERT INTO d.t VALUES ($who, $((n + 1)), repeat(md5('$who $n'), 60))" 2>/dev/null; do n=$((n + 1)); echo $n >acked-$who; done
    ) & done
    # A backup that reads through the cache, at the same time.
    (for n in 1 2 3; do cat data/d/*.ibd data/ibdata1 >/dev/null; sleep 0.3; done) &
    sleep 2; kill -9 $server; wait || true
    start
    for who in 1 2 3; do acked=$(cat acked-$who); sql "SELECT count(*) = $acked FROM d.t WHERE who = $who AND n <= $acked AND v = repeat(md5(concat('$who ', n - 1)), 60)"; done
done
sql "SELECT count(*) > 20 FROM d.t; CHECK TABLE d.t EXTENDED; DELETE FROM d.t WHERE n % 2 = 0; OPTIMIZE TABLE d.t; CHECK TABLE d.t EXTENDED"
mariadb-admin --no-defaults -uroot -S "$PWD/s" shutdown; wait $server
innochecksum data/d/t.ibd && echo sound
dd if=data/d/t.ibd iflag=direct bs=64k status=none | cmp - data/d/t.ibd && echo written
rm -rf data log acked-* pid s
"#;

/// The shell says what it has killed, with its number.
fn without_kills(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains(" Killed "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn mariadb_that_is_killed() {
    if !is_long("MariaDB") {
        return;
    }
    for place in places() {
        let comparison = Comparison::new("mariadb")
            .limit(240)
            .normalise(without_kills)
            .expect_said(&["uncovered io_uring"]);
        super::must_succeed(&comparison, &place, MARIADB);
    }
}
