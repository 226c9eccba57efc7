//! The interpreter against the kernel: the same filter, put on a child for real, must say of every call what was
//! answered here.

use super::*;

fn ld(k: u32) -> Instruction {
    of(0x20, 0, 0, k)
}

fn of(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Allowed numbers are those that no kernel has: they fail with ENOSYS when they are made, and do no harm.
const FIRST: u32 = 600;
const CALLS: u32 = 200;

fn errno(k: u32) -> u32 {
    0x0005_0000 | k
}

const ALLOW: u32 = 0x7fff_0000;

/// What the kernel answers: the error of each call made in a child behind the filter.
fn kernel(filter: &[Instruction], calls: &[(u32, [u64; 6])]) -> Vec<i32> {
    let bytes = calls.len() * 4;
    // SAFETY: a mapping of our own, shared with the child; the child makes plain system calls only and leaves.
    unsafe {
        let (prot, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        let shared = libc::mmap(core::ptr::null_mut(), bytes, prot, flags, -1, 0);
        assert_ne!(shared, libc::MAP_FAILED);
        let answers = core::slice::from_raw_parts_mut(shared.cast::<i32>(), calls.len());
        let child = libc::fork();
        if child == 0 {
            let program = libc::sock_fprog {
                len: filter.len() as u16,
                filter: filter.as_ptr().cast_mut().cast(),
            };
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) != 0 {
                libc::_exit(9);
            }
            for ((number, a), answer) in calls.iter().zip(answers.iter_mut()) {
                let [a, b, c, d, e, f] = a.map(|v| v as usize);
                let n = kernel::syscall6(*number as usize, a, b, c, d, e, f);
                *answer = -(n as i32);
            }
            libc::_exit(0);
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        assert_eq!(status, 0, "the child: {status:#x} with {filter:?}");
        let seen = answers.to_vec();
        libc::munmap(shared, bytes);
        seen
    }
}

fn ours(filter: &[Instruction], calls: &[(u32, [u64; 6])]) -> Vec<i32> {
    calls
        .iter()
        .map(|(number, arguments)| {
            let call = Call {
                number: *number,
                architecture: ARCHITECTURE,
                from: 0,
                arguments: *arguments,
            };
            match ask(filter, &call).says {
                says if says & 0xffff_0000 == errno(0) => (says & 0xffff) as i32,
                says if says == ALLOW => libc::ENOSYS,
                other => panic!("{other:#x}"),
            }
        })
        .collect()
}

/// Numbers in a row, with arguments that differ in both halves.
fn calls() -> Vec<(u32, [u64; 6])> {
    let mut seed = 7u64;
    let mut random = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bits = seed >> 33;
        // Often small, so that comparisons are met.
        if bits & 1 == 0 {
            bits % 5
        } else {
            seed ^ (seed << 31)
        }
    };
    (FIRST..FIRST + CALLS)
        .map(|number| (number, core::array::from_fn(|_| random())))
        .collect()
}

/// The filter, which leaves an error number in the accumulator's low bits, ended so that the kernel can be asked.
fn told(mut body: Vec<Instruction>) -> Vec<Instruction> {
    // _exit must get through.
    let through = [
        ld(0),
        of(0x15, 0, 1, libc::SYS_exit_group as u32),
        of(0x06, 0, 0, ALLOW),
    ];
    body.splice(0..0, through);
    body.extend([
        of(0x54, 0, 0, 0x7f),     // and
        of(0x44, 0, 0, errno(0)), // or
        of(0x16, 0, 0, 0),        // ret a
    ]);
    body
}

fn same(body: Vec<Instruction>) {
    let (filter, calls) = (told(body), calls());
    assert!(is_sound(&filter), "{filter:?}");
    assert_eq!(ours(&filter, &calls), kernel(&filter, &calls), "{filter:?}");
}

#[test]
fn loads_of_every_word() {
    for word in (0..64).step_by(4).filter(|k| ![8, 12].contains(k)) {
        same(vec![ld(word)]);
    }
}

#[test]
fn arithmetic_with_constants_and_with_the_index() {
    for operation in [0x04u16, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0xa4] {
        for k in [1u32, 3, 13, 31] {
            same(vec![ld(16), of(operation, 0, 0, k)]);
        }
        // The index is the low half of the second argument; dividing by zero would kill.
        same(vec![
            ld(24),
            of(0x44, 0, 0, 1),
            of(0x07, 0, 0, 0),
            ld(16),
            of(operation | X, 0, 0, 0),
        ]);
    }
    same(vec![ld(16), of(0x84, 0, 0, 0)]);
    same(vec![
        ld(32),
        of(0x02, 0, 0, 5),
        ld(16),
        of(0x61, 0, 0, 5),
        of(0x03, 0, 0, 15),
        of(0x60, 0, 0, 15),
    ]);
    same(vec![
        of(0x80, 0, 0, 0),
        of(0x07, 0, 0, 0),
        of(0x00, 0, 0, 7),
        of(0x0c, 0, 0, 0),
        of(0x81, 0, 0, 0),
        of(0x87, 0, 0, 0),
    ]);
}

#[test]
fn jumps() {
    for code in [0x15u16, 0x25, 0x35, 0x45] {
        for k in [0u32, 1, 2, 0x8000_0000] {
            let branch = of(code, 1, 0, k);
            same(vec![ld(16), branch, of(0x00, 0, 0, 11), of(0x04, 0, 0, 5)]);
        }
        let with_index = of(code | X, 0, 1, 0);
        same(vec![
            ld(24),
            of(0x07, 0, 0, 0),
            ld(16),
            with_index,
            of(0x00, 0, 0, 11),
            of(0x04, 0, 0, 5),
        ]);
    }
    same(vec![
        ld(16),
        of(0x05, 0, 0, 1),
        of(0x00, 0, 0, 11),
        of(0x04, 0, 0, 5),
    ]);
}

/// Long ones, and numbers in a list as programs make them.
#[test]
fn the_longest_filter() {
    let mut body = vec![ld(0)];
    for n in 0..2000u32 {
        body.push(of(0x15, 0, 1, FIRST + n % 150));
        body.push(of(0x06, 0, 0, errno(1 + n % 90)));
    }
    body.push(of(0x00, 0, 0, 77));
    same(body);
}

#[test]
fn what_was_looked_at_is_known() {
    let at = |filter: &[Instruction]| {
        let call = Call {
            number: FIRST,
            architecture: ARCHITECTURE,
            from: 0,
            arguments: [0; 6],
        };
        ask(filter, &call)
    };
    let by_number = [ld(4), ld(0), of(0x06, 0, 0, ALLOW)];
    assert_eq!(
        at(&by_number),
        Answer {
            says: ALLOW,
            depends: false
        }
    );
    assert!(at(&by_number).allows());
    assert!(at(&[ld(16), of(0x06, 0, 0, ALLOW)]).depends);
    assert!(at(&[ld(8), of(0x06, 0, 0, ALLOW)]).depends);
    for (says, allows) in [
        (0, false),
        (0x8000_0000, false),
        (0x0003_0000, false),
        (errno(1), false),
        (0x7fc0_0000, false),
        (0x7ff0_0000, false),
        (0x7ffc_0000, true),
    ] {
        assert_eq!(at(&[of(0x06, 0, 0, says)]).allows(), allows, "{says:#x}");
    }
}

/// What the kernel would never take ends, and says no.
#[test]
fn nonsense_is_refused_and_ends() {
    let call = Call {
        number: FIRST,
        architecture: ARCHITECTURE,
        from: 0,
        arguments: [3; 6],
    };
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 32) as u32
    };
    for _ in 0..20_000 {
        let filter: Vec<Instruction> = (0..random() % 40)
            .map(|_| {
                of(
                    random() as u16 & 0xff,
                    random() as u8 & 7,
                    random() as u8 & 7,
                    random() % 80,
                )
            })
            .collect();
        let _ = ask(&filter, &call);
    }
    for filter in [
        vec![],
        vec![ld(0)],
        vec![ld(64)],
        vec![ld(2)],
        vec![of(0x28, 0, 0, 0)],
        vec![of(0x05, 0, 0, u32::MAX)],
        vec![of(0x34, 0, 0, 0)],
        vec![of(0x60, 0, 0, 16)],
    ] {
        assert_eq!(ask(&filter, &call).says, KILL_THREAD, "{filter:?}");
        assert!(!ask(&filter, &call).allows());
    }
}

/// What is called sound and what isn't, the kernel takes and doesn't take.
#[test]
fn the_kernel_takes_what_is_sound() {
    let ret = of(0x06, 0, 0, ALLOW);
    let mut all: Vec<Vec<Instruction>> = (0..=0xffu16)
        .flat_map(|code| [0u32, 4, 31, 32, 63, 64, 2].map(|k| vec![of(code, 0, 0, k), ret]))
        // Loads from memory need a store first, which isn't looked at.
        .filter(|f| !f.iter().any(|i| matches!(i.code, 0x60 | 0x61)))
        .collect();
    all.extend([
        vec![],
        vec![ret],
        vec![ld(0)],
        vec![of(0x05, 0, 0, 0), ret],
        vec![of(0x05, 0, 0, 1), ret],
        vec![of(0x15, 0, 1, 0), ret],
        vec![of(0x15, 0, 1, 0), ret, ret],
        vec![of(0x15, 2, 0, 0), ret, ret],
        vec![of(0x106, 0, 0, 0), ret],
        vec![of(0x16, 0, 0, 0)],
    ]);
    for filter in all {
        // SAFETY: the child makes two system calls and leaves; its filter allows all or it has none.
        let taken = unsafe {
            let child = libc::fork();
            if child == 0 {
                let program = libc::sock_fprog {
                    len: filter.len() as u16,
                    filter: filter.as_ptr().cast_mut().cast(),
                };
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                let refused = libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) != 0
                    && *libc::__errno_location() == libc::EINVAL;
                libc::_exit(i32::from(refused));
            }
            let mut status = 0;
            libc::waitpid(child, &raw mut status, 0);
            status != 1 << 8 // taken, and perhaps killed by it
        };
        assert_eq!(is_sound(&filter), taken, "{filter:?}");
    }
}
