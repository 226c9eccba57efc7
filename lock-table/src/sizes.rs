//! What ranges are rounded out to, as the running kernel has it. x86-64 has one size of page. Elsewhere (4, 16 or 64 KiB
//! on aarch64) the kernel is asked, once.

/// The cache's page: what an excluded pair's ranges are rounded out to.
#[cfg(target_arch = "x86_64")]
#[inline]
pub const fn page() -> u64 {
    4096
}

/// The largest folio that a store can dirty: what a pair is rounded out to when one side dirties pages and the other
/// goes past them.
#[cfg(target_arch = "x86_64")]
#[inline]
pub const fn unit() -> u64 {
    largest_folio(page())
}

#[cfg(not(target_arch = "x86_64"))]
pub use asked::{page, unit};

/// What one page of page-table entries, 8 bytes each, maps: 2, 32 or 512 MiB. No kernel makes larger folios of files
/// (newer ones stop at 2,048 pages, which is less for pages of 64 KiB).
const fn largest_folio(page: u64) -> u64 {
    (page / 8).saturating_mul(page)
}

#[cfg(any(not(target_arch = "x86_64"), test))]
mod asked {
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

    static PAGE: AtomicU64 = AtomicU64::new(0);

    /// The cache's page: what an excluded pair's ranges are rounded out to.
    #[inline]
    pub fn page() -> u64 {
        match PAGE.load(Relaxed) {
            0 => ask(),
            page => page,
        }
    }

    #[cold]
    fn ask() -> u64 {
        // SAFETY: looks at what the kernel gave the program when it started.
        let page = unsafe { libc::getauxval(libc::AT_PAGESZ) };
        // A power of two in every kernel; so must be what is made of it.
        let page = if page.is_power_of_two() && page >= 4096 {
            page
        } else {
            65_536
        };
        PAGE.store(page, Relaxed);
        page
    }

    /// The largest folio that a store can dirty: what a pair is rounded out to when one side dirties pages and the other
    /// goes past them.
    #[inline]
    pub fn unit() -> u64 {
        super::largest_folio(page())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_of_entries() {
        for (page, folio) in [
            (4 << 10, 2 << 20),
            (16 << 10, 32 << 20),
            (64 << 10, 512 << 20),
        ] {
            assert_eq!(largest_folio(page), folio);
        }
    }

    #[test]
    fn what_the_kernel_says() {
        // SAFETY: no pointers.
        let says = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        assert_eq!((page(), unit()), (asked::page(), asked::unit()));
        assert_eq!(i64::try_from(page()), Ok(says));
    }
}
