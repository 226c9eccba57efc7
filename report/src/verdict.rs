//! What it all means, in a sentence or two, and the way out.

use trace::Kind;

use crate::account::{BY_WEIGHT, File, Other, Pair};

const FENCE_OR_ROUTE: &str = "fence both (`pagefence run`, mode = \"enforce\"), or write route = \"buffered\" for this file into the policy: then nothing is mixed";
const ROUTE: &str = "to spare that, write route = \"buffered\" for this file into the policy: then nothing is mixed";

/// The verdict, and the way out.
pub fn verdict(files: &[File], others: &[Other]) -> (String, String) {
    let uncovered = others.iter().filter(|other| other.event == "uncovered");
    let uncovered = match uncovered.count() {
        0 => String::new(),
        1 => "; one thing is not covered: see below".to_owned(),
        count => format!("; {count} things are not covered: see below"),
    };
    let Some((file, kind)) = worst(files) else {
        return match files.is_empty() && others.is_empty() {
            true => (
                "nothing was told: no file was used in two modes".to_owned(),
                String::new(),
            ),
            false => (
                format!("no file was used in two modes{uncovered}"),
                String::new(),
            ),
        };
    };
    let more = match files.len() {
        1 => String::new(),
        2 => "; one more file below".to_owned(),
        count => format!("; {} more files below", count - 1),
    };
    let met = Met::of(file, kind);
    let (what, hint) = what_came(file, kind, met.as_ref());
    let sentence = format!("{} {what}{more}{uncovered}", who(file, met.as_ref()));
    (sentence, hint.to_owned())
}

fn worst(files: &[File]) -> Option<(&File, Kind)> {
    let file = files.first()?;
    let kind = BY_WEIGHT.into_iter().find(|kind| file.count(*kind) > 0)?;
    Some((file, kind))
}

/// Two programs that were in each other's way, in whatever modes, and where.
struct Met<'a> {
    programs: [&'a str; 2],
    first: u64,
    last: u64,
    count: usize,
}

impl<'a> Met<'a> {
    /// Those that were most often.
    fn of(file: &'a File, kind: Kind) -> Option<Met<'a>> {
        let of_kind = || file.pairs.iter().filter(|pair| pair.event == kind.word());
        let programs = |pair: &'a Pair| {
            let mut both = [pair.program.as_str(), pair.other_program.as_str()];
            both.sort_unstable();
            both
        };
        let most = programs(of_kind().next()?);
        let same = || of_kind().filter(|pair| programs(pair) == most);
        Some(Met {
            programs: most,
            first: same().map(|pair| pair.first).min()?,
            last: same().map(|pair| pair.last).max()?,
            count: same().map(|pair| pair.count).sum(),
        })
    }
}

/// `cp and postgres mix /srv/db/1 in bytes 0 to 4095:`
fn who(file: &File, met: Option<&Met>) -> String {
    let path = match file.path.as_str() {
        "" => format!("inode {} of device {}", file.ino, file.dev),
        path => path.to_owned(),
    };
    let Some(met) = met else {
        let names: Vec<&str> = file.programs.iter().map(|p| p.program.as_str()).collect();
        return match names.as_slice() {
            [one] => format!("{one} uses {path} directly and through the page cache:"),
            names => format!("{} mix {path}:", listed(names)),
        };
    };
    let at = bytes(met);
    match met.programs {
        [one, other] if one == other => format!("processes of {one} mix {path} {at}:"),
        [one, other] => format!("{one} and {other} mix {path} {at}:"),
    }
}

fn listed(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "unknown programs".to_owned(),
    }
}

fn bytes(met: &Met) -> String {
    match met.last {
        u64::MAX => format!("from byte {} on", met.first),
        last => format!("in bytes {} to {last}", met.first),
    }
}

fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// What came of it, and the way out.
fn what_came(file: &File, kind: Kind, met: Option<&Met>) -> (String, &'static str) {
    let times = times(met.map_or(file.count(kind), |met| met.count));
    let what = match kind {
        Kind::Collision => {
            format!("they were at it at the same moment {times}, and nothing kept them apart")
        }
        Kind::InvalidateFailed => {
            format!(
                "the page cache kept old bytes {times}, and what was done about each is in --ndjson"
            )
        }
        Kind::LockTimeout => format!("a call gave up waiting for the other {times}"),
        Kind::Deadlock => format!("each waited for the other {times}, and a call failed"),
        Kind::Nested => format!("a signal handler came in its own thread's way {times}"),
        Kind::Wait => format!(
            "they were kept apart {times}, and waited {:.3} s in all, {:.3} s at most",
            file.waits.total_seconds, file.waits.longest_seconds
        ),
        Kind::Fallback => format!("direct requests went through the page cache {times}"),
        Kind::Reaped => "a process that used it died, and what it held is free".to_owned(),
        _ => "nobody was in anybody's way".to_owned(),
    };
    (what, way_out(kind))
}

/// What to do about a file with which that happened; empty: nothing.
pub fn way_out(kind: Kind) -> &'static str {
    match kind {
        Kind::Collision => FENCE_OR_ROUTE,
        Kind::LockTimeout => {
            "look what keeps the other one so long (a process that is stopped?), or raise lock_timeout"
        }
        Kind::InvalidateFailed | Kind::Deadlock | Kind::Nested | Kind::Wait | Kind::Fallback => {
            ROUTE
        }
        _ => "",
    }
}
