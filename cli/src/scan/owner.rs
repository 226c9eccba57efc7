//! Whose a process is: its user's name, and the unit or the container that it runs in.

use std::collections::HashMap;

/// Names of users, as /etc/passwd has them. (Asking libc may ask a server, which may not answer.)
#[derive(Clone)]
pub struct Users(HashMap<u32, String>);

/// The same of groups.
pub fn groups() -> Users {
    Users::of("/etc/group")
}

impl Users {
    pub fn read() -> Users {
        Users::of("/etc/passwd")
    }

    fn of(file: &str) -> Users {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let pair = |line: &str| {
            let mut words = line.split(':');
            let name = words.next()?.to_owned();
            Some((words.nth(1)?.parse().ok()?, name))
        };
        Users(text.lines().filter_map(pair).collect())
    }

    pub fn name(&self, user: u32) -> String {
        self.0.get(&user).cloned().unwrap_or(user.to_string())
    }
}

#[derive(Default, PartialEq, Eq, Debug)]
pub struct Group {
    /// Of systemd's: a service, or the scope of a session.
    pub unit: Option<String>,
    /// The first twelve digits of its number, or its name.
    pub container: Option<String>,
}

pub fn group(process: u32) -> Group {
    let text = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    parse(&text)
}

/// `0::/path`, or one line for each of version 1's, of which systemd's has the path, or any.
fn parse(text: &str) -> Group {
    let path_of = |line: &'_ str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let chosen = |prefix: &str| {
        text.lines()
            .find(|line| line.contains(prefix))
            .and_then(path_of)
    };
    let usual = chosen(":name=systemd:").or(chosen("0::"));
    let Some(path) = usual.or(text.lines().next().and_then(path_of)) else {
        return Group::default();
    };
    let parts = || path.split('/').rev();
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    Group {
        container: parts().find_map(container),
        unit: parts()
            .find(|part| is_unit(part) && container(part).is_none())
            .map(str::to_owned),
    }
}

/// `docker-<64 digits>.scope`, `<64 digits>`, `lxc.payload.name`, `machine-name.scope`.
fn container(part: &str) -> Option<String> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let number = name.rsplit('-').next().unwrap_or(name);
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if number.len() == 64 && is_hex(number) {
        return Some(number[..12].to_owned());
    }
    let named = name
        .strip_prefix("lxc.payload.")
        .or(name.strip_prefix("machine-"));
    named.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_containers() {
        let id = "0123456789abcdef".repeat(4);
        let none = None;
        let of = |unit: Option<&str>, container: Option<&str>| Group {
            unit: unit.map(str::to_owned),
            container: container.map(str::to_owned),
        };
        for (text, expected) in [
            (
                "0::/system.slice/mariadb.service\n".to_owned(),
                of(Some("mariadb.service"), none),
            ),
            (
                format!("0::/system.slice/docker-{id}.scope"),
                of(none, Some("0123456789ab")),
            ),
            (format!("0::/docker/{id}\n"), of(none, Some("0123456789ab"))),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-{id}.scope/inner"
                ),
                of(none, Some("0123456789ab")),
            ),
            (
                "0::/user.slice/user-1000.slice/session-2.scope".to_owned(),
                of(Some("session-2.scope"), none),
            ),
            (
                format!(
                    "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope"
                ),
                of(Some("user@1000.service"), Some("0123456789ab")),
            ),
            (
                "0::/lxc.payload.web/system.slice/nginx.service".to_owned(),
                of(Some("nginx.service"), Some("web")),
            ),
            (
                "12:cpu:/x\n1:name=systemd:/system.slice/cron.service\n0::/".to_owned(),
                of(Some("cron.service"), none),
            ),
            ("0::/".to_owned(), of(none, none)),
            (String::new(), of(none, none)),
        ] {
            assert_eq!(parse(&text), expected, "{text}");
        }
    }
}
