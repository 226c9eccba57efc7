//! Which instructions a jump takes the place of, so that a `syscall` comes to us: the smallest number that gives it room.
//!
//! Best is one instruction of five bytes before it: then the `syscall` stays where it is, and a call that isn't ours is made
//! there. Otherwise the `syscall` goes with what stands before or behind it, none of which anything else leads to.

use super::code::{Instructions, SYSCALL, length, only_calculates, writes_result};
use super::flow::{Inside, leads_inside};
use super::image::{Function, Image};
use super::stub::Moved;
use yaxpeax_x86::long_mode::{Instruction, Opcode, Operand, RegSpec};

/// A jump's length.
pub const JUMP: usize = 5;
/// How many instructions before and behind are looked at.
pub const AROUND: usize = 3;
/// How long they may be together, on one side.
pub const ROOM: usize = 15;

/// What is replaced, in the file's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub start: usize,
    pub end: usize,
    pub syscall: usize,
}

impl Plan {
    /// Whether the `syscall` stays.
    pub fn keeps(&self) -> bool {
        self.end == self.syscall
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Other instructions have these bytes in them, or it makes a call that isn't wanted.
    Nothing,
    /// It can't be known, or replaced.
    Unproven,
    Plan(Plan),
}

/// Of the bytes of a `syscall` at this address. `wants`: which numbers matter. `quiet`: nobody runs this code.
pub fn of(image: &Image, at: usize, wants: impl Fn(u32) -> bool, quiet: bool) -> Found {
    let Some(function) = image.function(at) else {
        return without_function(image, at, wants);
    };
    let around = match Around::of(&function, at) {
        Some(Some(around)) => around,
        Some(None) => return Found::Nothing,
        None => return Found::Unproven,
    };
    if let Some((from, number)) = around.number
        && !wants(number)
    {
        let inside = Inside { from, to: at + 1 };
        // Nothing else leads there, with another number.
        if !leads_inside(image, &function, inside, false) {
            return Found::Nothing;
        }
    }
    match around.plan(image, &function, at, quiet) {
        Some(plan) => Found::Plan(plan),
        None => Found::Unproven,
    }
}

/// Where it isn't known what is an instruction: code, or bytes of a table. It counts if some instructions that only move or
/// calculate lead to it, and one of them says the number.
fn without_function(image: &Image, at: usize, wants: impl Fn(u32) -> bool) -> Found {
    const FAR: usize = 24;
    let says = (2..=FAR).find_map(|n| {
        let start = at.checked_sub(n)?;
        let code = image.bytes(start, at)?;
        let mut says = None;
        for (_, instruction) in Instructions::of(&Function { start, code }) {
            let i = instruction.filter(only_calculates)?;
            match (says_number(&i), i.opcode()) {
                (Some(number), _) => says = Some(Some(number)),
                (None, Opcode::MOV) if is_result(&i) => says = Some(None),
                (None, _) if writes_result(&i) => says = None,
                _ => {}
            }
        }
        says
    });
    // And the next one looks at the result, or returns.
    let start = at + SYSCALL.len();
    let next = image
        .bytes(start, start + ROOM)
        .map(|code| Function { start, code });
    let next = next.and_then(|next| Instructions::of(&next).next()?.1);
    let goes_on = next.is_some_and(|i| {
        matches!(i.opcode(), Opcode::RETURN | Opcode::JMP) || i.opcode().is_jcc() || uses_result(&i)
    });
    match says.filter(|_| goes_on) {
        None => Found::Nothing,
        Some(Some(number)) if !wants(number) => Found::Nothing,
        Some(_) => Found::Unproven,
    }
}

fn is_result(i: &Instruction) -> bool {
    is_result_register(&i.operand(0))
}

fn is_result_register(operand: &Operand) -> bool {
    let registers = [RegSpec::rax(), RegSpec::eax()];
    registers
        .iter()
        .any(|reg| *operand == Operand::Register { reg: *reg })
}

fn uses_result(i: &Instruction) -> bool {
    only_calculates(i) && (0..i.operand_count()).any(|n| is_result_register(&i.operand(n)))
}

type Near = [Option<(usize, Instruction)>; AROUND];

/// What stands around it, the nearest first.
struct Around {
    before: Near,
    behind: Near,
    /// Which call it makes, and where that is said: nothing between the two writes it or leads elsewhere.
    number: Option<(usize, u32)>,
}

impl Around {
    /// None: it can't be read so far. Some(None): no instruction begins there.
    fn of(function: &Function, at: usize) -> Option<Option<Around>> {
        let mut before: Near = [None; AROUND];
        let mut number = None;
        let mut instructions = Instructions::of(function);
        let found = loop {
            let Some((here, instruction)) = instructions.next() else {
                break None;
            };
            if here > at {
                return Some(None);
            }
            let i = instruction?;
            if here == at {
                break Some(i);
            }
            before.rotate_right(1);
            if let Some(nearest) = before.first_mut() {
                *nearest = Some((here, i));
            }
            number = match says_number(&i) {
                Some(n) => Some((here, n)),
                None if i.opcode().is_jcc() || only_calculates(&i) && !writes_result(&i) => number,
                None => None,
            };
        };
        if found?.opcode() != Opcode::SYSCALL {
            return Some(None);
        }
        let mut behind: Near = [None; AROUND];
        for place in &mut behind {
            match instructions.next() {
                Some((here, Some(i))) => *place = Some((here, i)),
                _ => break,
            }
        }
        Some(Some(Around {
            before,
            behind,
            number,
        }))
    }

    fn plan(&self, image: &Image, function: &Function, at: usize, quiet: bool) -> Option<Plan> {
        let one = self.start(1).map(|start| Plan {
            start,
            end: at,
            syscall: at,
        });
        let one = one.filter(|plan| plan.end - plan.start >= JUMP);
        // Who came to the `syscall` by another way would be missed, and nothing worse.
        let passed_by = |plan: &Plan| {
            let (from, to) = (plan.start, at + 1);
            leads_inside(image, function, Inside { from, to }, false)
        };
        if let Some(plan) = one.filter(|plan| !passed_by(plan)) {
            return Some(plan);
        }
        // A thread may be in the call, and come back in the middle of what takes its place.
        if !quiet {
            return None;
        }
        let mut ways =
            (1..=2 * AROUND).flat_map(|n| (0..=n).rev().map(move |behind| (n - behind, behind)));
        ways.find_map(|(before, behind)| {
            let plan = Plan {
                start: if before == 0 { at } else { self.start(before)? },
                end: if behind == 0 {
                    at + SYSCALL.len()
                } else {
                    self.end(behind)?
                },
                syscall: at,
            };
            let (from, to) = (plan.start, plan.end);
            let fits = to - from >= JUMP
                && at - from <= ROOM
                && to - at - SYSCALL.len() <= ROOM
                && !leads_inside(image, function, Inside { from, to }, true);
            fits.then_some(plan)
        })
    }

    /// Where the first of so many instructions before it begins, if all of them can be moved.
    fn start(&self, count: usize) -> Option<usize> {
        let them = self.before.get(..count)?;
        let all = them
            .iter()
            .all(|one| one.is_some_and(|(_, i)| can_be_moved(&i)));
        them.last()?.filter(|_| all).map(|(at, _)| at)
    }

    /// Where the last of so many behind it ends.
    fn end(&self, count: usize) -> Option<usize> {
        let them = self.behind.get(..count)?;
        let all = them
            .iter()
            .all(|one| one.is_some_and(|(_, i)| can_be_moved(&i)));
        them.last()?.filter(|_| all).map(|(at, i)| at + length(&i))
    }
}

/// `mov eax, number` or `xor eax, eax`.
fn says_number(i: &Instruction) -> Option<u32> {
    let is = |n| {
        i.operand(n)
            == Operand::Register {
                reg: RegSpec::eax(),
            }
    };
    match (i.opcode(), i.operand(1)) {
        (Opcode::MOV, Operand::ImmediateU32 { imm }) if is(0) => Some(imm),
        (Opcode::MOV, Operand::ImmediateI32 { imm }) if is(0) => Some(imm.cast_unsigned()),
        (Opcode::XOR, _) if is(0) && is(1) => Some(0),
        _ => None,
    }
}

/// Whether it can be made to do the same elsewhere. (A stub has the stack pointer where the site had it by then.)
fn can_be_moved(i: &Instruction) -> bool {
    use Opcode::*;
    let known = matches!(i.opcode(), CDQE | CWDE) || only_calculates(i);
    let moves_stack = matches!(i.operand(0), Operand::Register { reg } if reg == RegSpec::rsp());
    let constant = (0..i.operand_count()).any(|n| is_constant(&i.operand(n)));
    known && !moves_stack && !(has_distance(i) && constant)
}

/// Whether it says how far something is away; without a constant, in its last four bytes.
fn has_distance(i: &Instruction) -> bool {
    let from_here = |operand| match operand {
        Operand::Disp { base, .. } | Operand::MemDeref { base } => base == RegSpec::rip(),
        _ => false,
    };
    (0..i.operand_count()).any(|n| from_here(i.operand(n)))
}

fn is_constant(operand: &Operand) -> bool {
    use Operand::*;
    matches!(
        operand,
        ImmediateI8 { .. } | ImmediateU8 { .. } | ImmediateI16 { .. } | ImmediateU16 { .. }
    ) || matches!(
        operand,
        ImmediateI32 { .. } | ImmediateU32 { .. } | ImmediateI64 { .. } | ImmediateU64 { .. }
    )
}

/// The instructions there, which can be moved.
pub fn moved(image: &Image, start: usize, end: usize) -> Moved {
    let mut moved = Moved {
        from: image.base.wrapping_add(start),
        ..Moved::default()
    };
    let Some(code) = image.bytes(start, end) else {
        return moved;
    };
    moved.len = code.len();
    moved
        .bytes
        .iter_mut()
        .zip(code)
        .for_each(|(to, from)| *to = *from);
    let mut ends = moved.distances_end.iter_mut();
    for (at, instruction) in Instructions::of(&Function { start, code }) {
        if let Some(i) = instruction
            && has_distance(&i)
            && let Some(end) = ends.next()
        {
            *end = at - start + length(&i);
        }
    }
    moved
}
