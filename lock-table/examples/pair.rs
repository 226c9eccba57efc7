//! What taking a free range and letting go of it costs: `cargo run --release --example pair`.

use lock_table::{Claim, FileId, Mode, Table, sys};

const ROUNDS: u64 = 5_000_000;

fn ns_per_round(mut round: impl FnMut(u64)) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = sys::now_ns();
        for i in 0..ROUNDS / 5 {
            round(i);
        }
        best = best.min((sys::now_ns() - start) as f64 / (ROUNDS / 5) as f64);
    }
    best
}

fn main() {
    let path =
        std::ffi::CString::new(format!("/dev/shm/lock-table-pair-{}", std::process::id())).unwrap();
    let table = Table::attach(&path).unwrap();
    std::fs::remove_file(path.to_str().unwrap()).unwrap();
    let slot = table.take_slot(1).unwrap();
    let file = FileId { dev: 1, ino: 2 };
    let claim = |i: u64| Claim {
        file,
        first: i * 4096,
        last: i * 4096 + 4095,
        mode: Mode::DirectWrite,
        atomic: false,
    };
    let announce = ns_per_round(|i| {
        table.announce(slot, &claim(i));
        table.release(slot);
    });
    println!("announce, release:              {announce:6.1} ns");
    for others in [0u64, 7, 31, 127] {
        let held: Vec<_> = (0..others)
            .map(|i| {
                let s = table.take_slot(2 + i as u32).unwrap();
                table.hold_now(s, &claim((1 << 40) + i), &[]).unwrap();
                s
            })
            .collect();
        let pair = ns_per_round(|i| {
            table.hold_now(slot, &claim(i), &[]).unwrap();
            table.release(slot);
        });
        println!("hold, release, {others:3} others hold: {pair:6.1} ns");
        for s in held {
            table.give_slot(s);
        }
    }
}
