//! What the measurements mean, and what Pagefence does because of them.

use super::Measured;
use crate::doctor::diagnosis::{Finding, Section};

const BUFFERED: &str = "give these files route = \"buffered\" in the policy";

pub fn of(measured: &Measured, filesystem: &str, is_file: bool) -> Vec<Section> {
    let mut direct = Section::new("direct I/O");
    if is_file {
        direct.note(
            "file",
            "the file itself was not touched: what is said is of a new one beside it",
            "its own attributes (nodatacow, inline data, verity) may differ from a new one's",
        );
    }
    ways(&mut direct, measured);
    let mut mixed = Section::new("in mixed use");
    if measured.takes_direct {
        replaced(&mut mixed, measured);
        signal(&mut mixed, measured, filesystem);
    }
    folio(&mut mixed, measured);
    let mut calls = Section::new("what it asks for and what works");
    alignment(&mut calls, measured);
    flags(&mut calls, measured);
    let mut kernel = Section::new("kernel");
    features(&mut kernel, measured);
    vec![direct, mixed, calls, kernel]
}

pub fn verdict(measured: &Measured, filesystem: &str, hole: Option<&Finding>) -> String {
    if let Some(hole) = hole {
        return format!(
            "({filesystem}) something that Pagefence relies on isn't so: {}",
            hole.what
        );
    }
    if is_layered(filesystem) && measured.write_bypasses == Some(true) && !is_told(measured) {
        return format!(
            "({filesystem}) direct I/O goes past the page cache; in mixed use Pagefence makes direct writes go through it"
        );
    }
    let what = match (
        measured.takes_direct,
        measured.write_bypasses,
        measured.read_bypasses,
    ) {
        (false, ..) => "files take no O_DIRECT: there is one mode only",
        (true, Some(true), Some(true)) => {
            "direct I/O goes past the page cache, and what Pagefence relies on holds"
        }
        (true, Some(false), Some(true)) => {
            "direct writes go through the page cache by themselves, direct reads past it"
        }
        (true, Some(true), _) => "direct writes go past the page cache, direct reads through it",
        (true, ..) => "direct I/O goes through the page cache by itself: modes can't diverge",
    };
    format!("({filesystem}) {what}")
}

fn ways(section: &mut Section, measured: &Measured) {
    if !measured.takes_direct {
        return section.covered("direct", "files here take no O_DIRECT: who asks for it is refused (EINVAL), and Pagefence has nothing to do");
    }
    match measured.write_bypasses {
        Some(true) => section.covered("write", "a direct write goes past the page cache"),
        _ => section.covered("write", "a direct write goes through the page cache, as a buffered one does: the kernel itself keeps the modes together; Pagefence holds its range all the same"),
    }
    match measured.read_bypasses {
        Some(true) => section.covered(
            "read",
            "a direct read goes past the page cache and brings nothing into it",
        ),
        _ => section.covered("read", "a direct read goes through the page cache"),
    }
    if measured.read_keeps_pages == Some(false) {
        section.note(
            "read",
            "a direct read drops clean pages that others have read",
            "",
        );
    }
}

fn replaced(section: &mut Section, measured: &Measured) {
    for (about, value, what) in [
        (
            "dirty",
            measured.dirty_page_replaced,
            "a dirty page under a direct write",
        ),
        (
            "mapped",
            measured.mapped_page_replaced,
            "a page that was stored to by a mapping, under a direct write,",
        ),
    ] {
        match value {
            Some(true) => section.covered(about, format_args!("{what} is replaced: readers see what was written last, in the cache and on the device")),
            Some(false) => section.uncovered(about, format_args!("{what} stays as it was, with nobody else at work: direct writes are lost"), BUFFERED),
            None => {}
        }
    }
}

/// Whether the library takes it for layers: by its name.
fn is_layered(filesystem: &str) -> bool {
    filesystem == "overlay"
}

fn is_told(measured: &Measured) -> bool {
    measured.error_signal == Some("sync_file_range")
}

/// As the library decides it: on layers by the filesystem's name, elsewhere by the look.
fn signal(section: &mut Section, measured: &Measured, filesystem: &str) {
    let attempts = measured.attempts;
    match measured.error_signal {
        _ if is_told(measured) => section.covered("signal", format_args!("a page that can't be dropped is told by sync_file_range (after {attempts} writes beside stores): Pagefence looks there after each direct write in mixed use, and writes such bytes again through the cache")),
        _ if is_layered(filesystem) => section.covered("signal", "sync_file_range doesn't tell of pages that can't be dropped, because the pages are another layer's: in mixed use Pagefence makes every direct write go through the cache, with an fdatasync"),
        Some(_) => section.uncovered("signal", format_args!("a page that can't be dropped is told by fsync only (after {attempts} writes beside stores), and Pagefence looks by sync_file_range: it would stay stale"), BUFFERED),
        None if measured.write_bypasses == Some(true) => section.note("signal", format_args!("in {attempts} direct writes beside stores every page could be dropped: whether it is told if not, was not seen"), ""),
        None => section.covered("signal", format_args!("in {attempts} direct writes beside stores every page was as it should be: nothing has to be dropped")),
    }
}

fn folio(section: &mut Section, measured: &Measured) {
    match measured.folio_kib {
        Some(kib @ 0..=4) => section.note("folio", format_args!("one dirtied byte dirties {kib} KiB: no large folios"), ""),
        Some(kib @ 5..=2048) => section.covered("folio", format_args!("one dirtied byte dirties up to {kib} KiB with it (large folios): Pagefence keeps direct writes 2 MiB away from buffered ones and mappings")),
        Some(kib) => section.uncovered("folio", format_args!("one dirtied byte dirties {kib} KiB with it: more than the 2 MiB that Pagefence keeps direct writes away"), BUFFERED),
        None => section.note("folio", "how much one dirtied byte dirties with it can't be seen here (cachestat)", ""),
    }
}

fn alignment(section: &mut Section, measured: &Measured) {
    let Some(found) = &measured.alignment else {
        return;
    };
    let show = |least: Option<usize>| {
        least.map_or("none that was tried".to_owned(), |least| least.to_string())
    };
    section.note(
        "alignment",
        match &found.said {
            Some(said) => format!(
                "the file says (statx): memory {}, places and lengths {}",
                said.memory, said.offset
            ),
            None => "the file says no alignment (statx)".to_owned(),
        },
        "",
    );
    section.note("alignment", format_args!(
        "granted: places and lengths from {} (read), {} (write); memory from {} (read), {} (write)",
        show(found.offset_read), show(found.offset_write), show(found.memory_read), show(found.memory_write)
    ), "");
    if let Some(said) = &found.said
        && (found
            .offset_read
            .is_none_or(|least| least > said.offset as usize)
            || found
                .offset_write
                .is_none_or(|least| least > said.offset as usize))
    {
        section.uncovered(
            "alignment",
            "the file grants less than it says: Pagefence goes by what it says",
            BUFFERED,
        );
    }
    if found.offset_write == Some(1) {
        section.note("alignment", "what isn't aligned is granted: the filesystem goes through the cache with it by itself", "");
    }
}

fn flags(section: &mut Section, measured: &Measured) {
    let names = |chosen: &dyn Fn(&super::flags::Both) -> bool| {
        let all = measured.flags.iter().filter(|(_, both)| chosen(both));
        let names: Vec<&str> = all.map(|(name, _)| *name).collect();
        match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        }
    };
    section.note(
        "flags",
        format_args!(
            "flags of single writes (RWF_) that work: buffered {}",
            names(&|both| both.buffered == "yes")
        ),
        "",
    );
    if measured.takes_direct {
        section.note(
            "flags",
            format_args!(
                "... and direct {}",
                names(&|both| both.direct.as_deref() == Some("yes"))
            ),
            "",
        );
    }
}

fn features(section: &mut Section, measured: &Measured) {
    let all = measured.kernel.iter();
    let (there, missing): (Vec<_>, Vec<_>) = all.partition(|(_, there)| **there);
    let names = |list: &[(&&str, &bool)]| {
        list.iter()
            .map(|(name, _)| **name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !there.is_empty() {
        section.covered("features", format_args!("the kernel has {}", names(&there)));
    }
    for (name, _) in missing {
        let (what, then) = match *name {
            "membarrier_global_expedited" => (
                "no membarrier (GLOBAL_EXPEDITED)",
                "every call takes its range, also while a file is used in one mode only",
            ),
            "cachestat" => ("no cachestat", "only this command misses it"),
            "statx_dioalign" => (
                "no alignment for this file (STATX_DIOALIGN)",
                "what the kernel grants is found by asking it",
            ),
            _ => (
                "no PAGEMAP_SCAN",
                "only a process that tracks its own stores would miss it",
            ),
        };
        section.note("features", what, then);
    }
}
