# What a system has of Pagefence besides its files: the group, the machine's table, the service that hands it out. Set up and taken
# down here for scripts/install-system, which reads this, and for packages, whose own scripts begin with it. For any POSIX shell.

TABLE=/run/pagefence/table
UNIT=pagefence-table.service
has_systemd() { [ -d /run/systemd/system ]; }

# set_up COMMAND [PREVIOUS-VERSION]: with a previous version it is an upgrade, and what the administrator has said of the unit
# stays. The service is started anew: it hands out the same table as before, if anybody is in that.
set_up() {
    # Where systemd is installed it makes the group by what it finds of us in sysusers.d, and so does the next start.
    getent group pagefence >/dev/null || systemd-sysusers pagefence.conf 2>/dev/null || true
    getent group pagefence >/dev/null || groupadd --system pagefence 2>/dev/null || addgroup --system pagefence
    install -d -o root -g pagefence -m 2750 /run/pagefence
    if has_systemd; then systemctl daemon-reload; fi
    # Without systemd running this makes the link only.
    if [ -z "${2-}" ] && command -v systemctl >/dev/null; then systemctl enable --quiet $UNIT; fi
    if has_systemd; then
        if systemctl is-enabled --quiet $UNIT; then systemctl restart $UNIT; fi
        return
    fi
    "$1" tabled --stop >/dev/null 2>&1 || true # none may run
    # shellcheck disable=SC1091
    (. /etc/default/pagefence; "$1" tabled --background ${TABLE_OPTIONS-} >/dev/null)
}

# take_down COMMAND: while its files are still there. Fails while somebody is in the table: what he starts would go unfenced.
take_down() {
    if "$1" table show --json $TABLE 2>/dev/null | grep -q '"state":"in use"'; then
        echo "pagefence: $TABLE stays, and with it all else: pagefence status $TABLE says who is in it" >&2
        return 1
    fi
    # What isn't there can't be stopped.
    if command -v systemctl >/dev/null; then systemctl disable --quiet $UNIT || true; fi
    if has_systemd; then systemctl stop $UNIT || true; else "$1" tabled --stop >/dev/null 2>&1 || true; fi
}

# Once the files are gone.
forget() {
    rm -f $TABLE $TABLE.lock
    rmdir /run/pagefence 2>/dev/null || true
    if has_systemd; then systemctl daemon-reload; fi
}

take_group() {
    if getent group pagefence >/dev/null; then groupdel pagefence || return 1; fi
}
