//! Where jumps lead. What takes the place of several instructions may be entered at the first only: whether anything leads
//! to one of the others is known from all jumps of the function (by tables too), and of the rest of the image.

use super::code::{Instructions, length};
use super::image::{Function, Image};
use yaxpeax_x86::long_mode::{Instruction, Opcode, Operand, RegSpec};

/// What a table of jumps has at most.
const LONGEST_TABLE: usize = 4096;

/// The addresses between the two, both of which may be entered.
#[derive(Clone, Copy)]
pub struct Inside {
    pub from: usize,
    pub to: usize,
}

impl Inside {
    fn has(self, at: usize) -> bool {
        at > self.from && at < self.to
    }
}

/// Whether a jump of the function may lead there. `or_unknown`: also one of which isn't known where it leads.
pub fn leads_inside(image: &Image, function: &Function, inside: Inside, or_unknown: bool) -> bool {
    let mut unknown = false;
    let mut by_table = false;
    for (at, instruction) in Instructions::of(function) {
        let Some(i) = instruction else {
            return true;
        };
        let next = at + length(&i);
        match operand(&i) {
            Some(Leads::To(distance)) if inside.has(next.wrapping_add_signed(distance)) => {
                return true;
            }
            Some(Leads::Table(table)) => {
                by_table = true;
                if table_leads(image, function, table, Entry::Address, inside) != Some(false) {
                    return true;
                }
            }
            Some(Leads::Somewhere) => unknown = true,
            _ => {}
        }
        if let Some(table) = table_of_distances(&i, next) {
            match table_leads(image, function, table, Entry::Distance, inside) {
                Some(true) => return true,
                Some(false) => by_table = true,
                None => {}
            }
        }
    }
    unknown && !by_table && or_unknown
}

enum Leads {
    To(isize),
    /// Through a table of addresses, which stands there.
    Table(usize),
    /// To what has been calculated: by a table of distances, or out of the function.
    Somewhere,
}

fn is_jump(i: &Instruction) -> bool {
    use Opcode::*;
    i.opcode().is_jcc()
        || matches!(
            i.opcode(),
            JMP | CALL | JRCXZ | LOOP | LOOPZ | LOOPNZ | XBEGIN
        )
}

fn operand(i: &Instruction) -> Option<Leads> {
    if !is_jump(i) {
        return None;
    }
    Some(match i.operand(0) {
        Operand::ImmediateI8 { imm } => Leads::To(imm.into()),
        Operand::ImmediateI32 { imm } => Leads::To(imm as isize),
        // A call comes back behind itself; these lead to where functions are.
        _ if i.opcode() != Opcode::JMP => return None,
        Operand::Disp { .. } | Operand::MemDeref { .. } => return None,
        Operand::MemIndexScaleDisp { disp, .. } => Leads::Table(disp as usize),
        _ => Leads::Somewhere,
    })
}

/// A table of distances from itself begins where such an instruction says.
fn table_of_distances(i: &Instruction, next: usize) -> Option<usize> {
    match i.operand(1) {
        Operand::Disp { base, disp } if i.opcode() == Opcode::LEA && base == RegSpec::rip() => {
            Some(next.wrapping_add_signed(disp as isize))
        }
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Entry {
    Address,
    Distance,
}

/// None: there is no table of places in this function.
fn table_leads(
    image: &Image,
    function: &Function,
    table: usize,
    entry: Entry,
    inside: Inside,
) -> Option<bool> {
    let its = function.start..=function.start + function.code.len();
    let mut found = None;
    for n in 0..LONGEST_TABLE {
        let target = match entry {
            // Addresses are those where it is loaded.
            Entry::Address => {
                let it = image.word(table.wrapping_sub(image.base) + 8 * n);
                it.map(|it| usize::from_le_bytes(it).wrapping_sub(image.base))
            }
            Entry::Distance => image
                .word(table + 4 * n)
                .map(|it| table.wrapping_add_signed(i32::from_le_bytes(it) as isize)),
        };
        match target.filter(|target| its.contains(target)) {
            Some(target) if inside.has(target) => return Some(true),
            Some(_) => found = Some(false),
            None => break,
        }
    }
    found
}

/// Every jump of the image's code over a long way, and those that only look like one: where it stands doesn't matter, for
/// parts of a function may lie far from it. Calls the function with each place that one leads to.
pub fn long_jumps(image: &Image, mut leads_to: impl FnMut(usize)) {
    for (start, bytes) in image.code() {
        for (at, there) in bytes.windows(6).enumerate() {
            let distance = match *there {
                [0xe9, a, b, c, d, _] => (5, [a, b, c, d]),
                [0x0f, kind, a, b, c, d] if kind & 0xf0 == 0x80 => (6, [a, b, c, d]),
                _ => continue,
            };
            let next = start + at + distance.0;
            leads_to(next.wrapping_add_signed(i32::from_le_bytes(distance.1) as isize));
        }
    }
}
