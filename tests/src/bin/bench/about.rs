//! What results are about: what was measured, when, how often, on which machine and filesystems. The same for all that
//! `scripts/bench` measures.

use crate::Common;
use crate::machine::Machine;
use pagefence_tests::places::{Place, mount_of};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// As it is named to `scripts/bench`.
    pub what: String,
    /// Year, month and day when measuring began, in UTC.
    pub date: String,
    pub rounds: u32,
    /// None where the figure itself says how long it takes.
    pub milliseconds_per_figure: Option<u64>,
    pub machine: Machine,
    pub filesystems: Vec<Filesystem>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filesystem {
    pub name: String,
    /// As the kernel names it.
    pub kind: String,
    /// What it lies on.
    pub device: String,
    pub options: String,
}

impl About {
    pub fn begin(
        what: &str,
        args: &Common,
        milliseconds: Option<u64>,
        places: &[Place],
    ) -> Result<About, String> {
        args.ready()?;
        Ok(About {
            what: what.to_owned(),
            date: today(),
            rounds: args.rounds,
            milliseconds_per_figure: milliseconds,
            machine: Machine::look(),
            filesystems: places.iter().map(Filesystem::of).collect(),
        })
    }
}

fn today() -> String {
    let said = Command::new("date").args(["-u", "+%F"]).output();
    said.map_or_else(
        |_| "unknown".to_owned(),
        |said| String::from_utf8_lossy(&said.stdout).trim().to_owned(),
    )
}

impl Filesystem {
    fn of(place: &Place) -> Filesystem {
        let unknown = || "unknown".to_owned();
        let path = place.path.canonicalize();
        let mount = path.ok().and_then(|path| mount_of(&path));
        let (kind, device, options) = match mount {
            Some(m) if m.kind == "tmpfs" => (m.kind, "memory".to_owned(), m.options),
            Some(m) => (m.kind, device(&m.source), m.options),
            None => (unknown(), unknown(), unknown()),
        };
        Filesystem {
            name: place.name.clone(),
            kind,
            device,
            options,
        }
    }
}

/// Of a loop device its number says nothing, but what its image lies on does.
fn device(source: &str) -> String {
    let Some(number) = source.strip_prefix("/dev/loop") else {
        return source.to_owned();
    };
    let image = format!("/sys/block/loop{number}/loop/backing_file");
    let image = std::fs::read_to_string(image).unwrap_or_default();
    match mount_of(Path::new(image.trim_end())) {
        Some(under) => format!("a loop device, its image on {}", under.kind),
        None => "a loop device".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filesystem_is_described() {
        let path = Path::new("/proc").to_owned();
        let name = "mine".to_owned();
        let proc = Filesystem::of(&Place { name, path });
        assert_eq!((&*proc.name, &*proc.kind), ("mine", "proc"));
        assert!(proc.options.contains("rw") || proc.options.contains("ro"));
        assert_eq!(device("/dev/sda1"), "/dev/sda1");
    }

    #[test]
    fn today_is_a_date() {
        let today = today();
        let parts: Vec<usize> = today.split('-').map(str::len).collect();
        assert_eq!(parts, [4, 2, 2], "{today}");
    }
}
