//! Rights. The supervisor has those that the program was started with, and may do nothing for a process that this process
//! couldn't do itself.
//!
//! By a number a process has been given what it may do already, but for two things that the kernel asks of who makes the
//! call: whether a write leaves a file setuid, and whether it may use the reserve of a filesystem. For a process that has
//! given rights up the supervisor does without those two. By a name everything is asked: it opens nothing so for a process
//! whose rights aren't its own, nor for anybody once one has confined itself (Landlock), which can't be seen from outside.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::*};

use crate::process::set_in;

use super::listener::Answer;
use super::scene::Scene;

/// Calls after which a process may have fewer rights.
pub const GIVING_UP: &[libc::c_long] = &[
    libc::SYS_setuid,
    libc::SYS_setreuid,
    libc::SYS_setresuid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_landlock_restrict_self,
];

#[derive(Default)]
pub struct Rights {
    somebody_gave_up: AtomicBool,
    somebody_is_confined: AtomicBool,
}

/// What is known of one process.
#[derive(Default)]
pub struct Standing(AtomicU8);

/// It has fewer than we, and gets them back by such a call only.
const FEWER: u8 = 1;
/// As many, and loses them by such a call only.
const AS_MANY: u8 = 2;
/// It makes such calls: asked anew each time.
const CHANGES: u8 = 3;

/// None: it is another call. The program's own follows.
pub fn giving_up(scene: &mut Scene) -> Option<Answer> {
    let number = scene.call.number();
    if !GIVING_UP.contains(&number) {
        return None;
    }
    let rights = &scene.shared.rights;
    match number {
        libc::SYS_landlock_restrict_self => rights.somebody_is_confined.store(true, Release),
        _ => {
            scene.process.standing.0.store(CHANGES, Release);
            rights.somebody_gave_up.store(true, Release);
        }
    }
    Some(Answer::Itself)
}

/// Whether the caller may have by name whatever we may.
pub fn are_ours(scene: &Scene) -> bool {
    !scene.shared.rights.somebody_is_confined.load(Acquire) && has_as_many(scene)
}

fn has_as_many(scene: &Scene) -> bool {
    let theirs = of(&scene.call.thread.to_string());
    theirs.is_some() && theirs == of("thread-self")
}

/// Whether the caller's writes may do less than ours.
fn may_less(scene: &Scene) -> bool {
    if !scene.shared.rights.somebody_gave_up.load(Acquire) {
        return false;
    }
    let standing = &scene.process.standing.0;
    match standing.load(Acquire) {
        FEWER => true,
        AS_MANY => false,
        _ => {
            let less = !has_as_many(scene);
            let found = if less { FEWER } else { AS_MANY };
            // Unless it makes such calls.
            let _ = standing.compare_exchange(0, found, AcqRel, Acquire);
            less
        }
    }
}

/// What the kernel asks when a file is opened: users, groups, namespace, the word of a security module, capabilities.
fn of(thread: &str) -> Option<(Vec<String>, u64)> {
    /// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_SYS_ADMIN, CAP_MAC_OVERRIDE.
    const OF_FILES: u64 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << SETUID_STAYS | 1 << 21 | 1 << 32;
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let has = |line: &&str| {
        ["Uid:", "Gid:", "Groups:"]
            .iter()
            .any(|key| line.starts_with(key))
    };
    let mut all: Vec<String> = status.lines().filter(has).map(str::to_owned).collect();
    let users = fs::read_link(format!("/proc/{thread}/ns/user")).ok()?;
    all.push(users.to_string_lossy().into_owned());
    all.push(fs::read_to_string(format!("/proc/{thread}/attr/current")).unwrap_or_default());
    // Of ours those that the thread could have: it may be doing without.
    let key = if thread == "thread-self" {
        "CapPrm"
    } else {
        "CapEff"
    };
    Some((all, set_in(&status, key)? & OF_FILES))
}

/// What a thread of the supervisor has now.
pub struct Own {
    does_without: bool,
}

impl Own {
    /// Of a thread that begins: it has what the one had that made it.
    pub fn begin() -> Own {
        do_with(true);
        Own {
            does_without: false,
        }
    }

    /// Before a call is made: with what the caller has.
    pub fn follow(&mut self, scene: &Scene) {
        let less = may_less(scene);
        if less != self.does_without {
            self.does_without = less;
            do_with(!less);
        }
    }
}

const SETUID_STAYS: u32 = 4;
const RESERVE: u32 = 24;

/// This thread's own capabilities: those two as they are permitted, or without.
fn do_with(both: bool) {
    const VERSION_3: u32 = 0x2008_0522;
    const BOTH: u32 = 1 << SETUID_STAYS | 1 << RESERVE;
    let head = [VERSION_3, 0];
    // Effective, permitted, inheritable, of the first 32 and then of the others.
    let mut sets = [0_u32; 6];
    let call = |number: libc::c_long, sets: &mut [u32; 6]| {
        let arguments = [
            head.as_ptr() as usize,
            sets.as_mut_ptr() as usize,
            0,
            0,
            0,
            0,
        ];
        // SAFETY: two words and six, as both calls have them.
        unsafe { kernel::any(number as usize, arguments) }
    };
    if call(libc::SYS_capget, &mut sets) == 0 {
        sets[0] = if both {
            sets[0] | sets[1] & BOTH
        } else {
            sets[0] & !BOTH
        };
        let _ = call(libc::SYS_capset, &mut sets);
    }
}
