//! A sound table with something in it.

use super::bench::GEOMETRY;
use super::common::*;
use lock_table::{Mine, Mode, Table, USE_BUFFERED, USE_DIRECT};
use std::ffi::CStr;
use std::fs;
use std::sync::atomic::Ordering::SeqCst;

/// The bytes of a sound table in which dead processes have left something of everything.
pub fn make(path: &CStr) -> Vec<u8> {
    Table::create(path, &GEOMETRY).unwrap();
    let words = shared_words(1);
    let left = |body: &dyn Fn(&Table) -> Option<()>| {
        let step = words[0].load(SeqCst);
        let child = Child::run(|| {
            let Ok(table) = Table::attach(path) else {
                return 1;
            };
            if body(&table).is_none() {
                return 2;
            }
            words[0].fetch_add(1, SeqCst);
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        });
        until("a child stands", || words[0].load(SeqCst) == step + 1);
        child
    };
    let writer = |at: u64| claim(Mode::DirectWrite, at, at + 4095);
    left(&|t| t.hold_now(t.take_slot(9)?, &writer(1 << 30)).ok()).kill();
    // Attaching makes that one unverified. These stay as they are.
    let holder = left(&|t| {
        t.hold_now(t.take_slot(1)?, &writer(0)).ok()?;
        t.announce(
            t.take_request_slot()?,
            &claim(Mode::BufferedRead, 0, u64::MAX),
        );
        t.use_register(FILE, USE_DIRECT)?;
        for i in 0..70 {
            t.map_register(FILE, i * 4096, i * 4096 + 4095, true)?;
        }
        Some(())
    });
    let waiter = Child::run(|| {
        let Ok(t) = Table::attach(path) else { return 1 };
        t.use_register(FILE, USE_BUFFERED);
        let Some(s) = t.take_slot(2) else { return 2 };
        let _ = t.hold(s, &writer(0), &Mine::NONE, None, &mut no());
        3
    });
    // Not leaked, as the tests' own are: the fuzzer counts that.
    let table = {
        let _held = fork_lock();
        Table::attach(path).unwrap()
    };
    until("one waits", || table.snapshot().slots.len() == 3);
    holder.kill();
    waiter.kill();
    fs::read(path.to_str().unwrap()).unwrap()
}
