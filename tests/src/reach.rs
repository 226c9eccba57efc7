//! Which system calls a library's functions come to, read from its machine code: every instruction of every function, what
//! it calls, jumps to and takes the address of, and the numbers that stand before its `syscall` instructions. Exported or
//! not makes no difference, so that no way inside the library is forgotten.
//!
//! Too much is found rather than too little: a function whose address is taken counts as called, and so does each one in a
//! table of pointers that is looked at. What isn't found: calls into other libraries (the loader's), and by pointers that the
//! program gives. A stream's functions come to the calls by libc's stream tables; who looks at these is marked as such.

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol, RelocationTarget, SymbolKind};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use yaxpeax_arch::LengthedInstruction;
use yaxpeax_x86::long_mode::{InstDecoder, Instruction, Opcode, Operand, RegSpec};

/// A mapping's number counts where it may be of a file.
const MMAP: u32 = 9;
/// A `syscall` whose number isn't said right before it.
pub const UNKNOWN: u32 = u32::MAX;

#[derive(Default)]
struct Function {
    end: u64,
    /// The starts of others.
    calls: BTreeSet<u64>,
    /// Addresses in data that it takes.
    takes: BTreeSet<u64>,
    numbers: BTreeSet<u32>,
    streams: bool,
}

/// What a function can come to.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Reach {
    pub numbers: BTreeSet<u32>,
    pub streams: bool,
}

pub struct Code {
    functions: BTreeMap<u64, Function>,
    /// By their names: where they start, for each version of the name.
    exported: BTreeMap<String, BTreeSet<u64>>,
}

type File<'a> = ElfFile64<'a, Endianness>;

/// What a library's data says of its code.
struct Data {
    /// Where a pointer stands that the loader makes point to code: where that begins.
    pointers: BTreeMap<u64, u64>,
    stubs: (u64, u64),
    streams: (u64, u64),
    mmap: u64,
}

impl Code {
    pub fn read(path: &Path) -> Code {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = File::parse(&*bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let exported = exported(&file);
        let one = |name| *exported.get(name).and_then(BTreeSet::first).unwrap_or(&0);
        let data = Data {
            pointers: pointers(&file),
            stubs: section(&file, ".plt"),
            streams: section(&file, "__libc_IO_vtables"),
            mmap: one("mmap"),
        };
        let mut functions = bounds(&file);
        for start in exported.values().flatten() {
            // One written by hand, without a table for unwinding: it ends where the next begins.
            let next = functions.range(start + 1..).next().map(|(next, _)| *next);
            let inside = containing(&functions, *start).is_some();
            if !inside && let Some(end) = next {
                functions.insert(
                    *start,
                    Function {
                        end,
                        ..Function::default()
                    },
                );
            }
        }
        let places: Vec<_> = functions.iter().map(|(start, f)| (*start, f.end)).collect();
        for (start, end) in places {
            let found = look(&file, &data, &functions, start, end);
            functions.insert(start, found);
        }
        let mut code = Code {
            functions,
            exported,
        };
        code.follow_tables(&data);
        code
    }

    /// A table of pointers begins where its address is taken; its entries lie near each other.
    fn follow_tables(&mut self, data: &Data) {
        const APART: u64 = 32;
        for function in self.functions.values_mut() {
            for from in &function.takes {
                let mut end = from + APART;
                for (at, code) in data.pointers.range(from..) {
                    if *at >= end {
                        break;
                    }
                    function.calls.insert(*code);
                    end = at + APART;
                }
            }
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.exported.keys().map(String::as_str)
    }

    /// What the function can come to without going through one of those that are `known`.
    pub fn reach(&self, name: &str, known: &BTreeSet<String>) -> Reach {
        let starts = |name: &str| self.exported.get(name).into_iter().flatten().copied();
        let cut: BTreeSet<u64> = known.iter().flat_map(|name| starts(name)).collect();
        let mut waiting: Vec<u64> = starts(name).collect();
        let (mut seen, mut reach) = (BTreeSet::new(), Reach::default());
        while let Some(start) = waiting.pop() {
            let Some((start, function)) = containing(&self.functions, start) else {
                continue;
            };
            let is_known = !seen.is_empty() && cut.contains(&start);
            if is_known || !seen.insert(start) {
                continue;
            }
            reach.numbers.extend(&function.numbers);
            reach.streams |= function.streams;
            waiting.extend(&function.calls);
        }
        reach
    }
}

fn containing(functions: &BTreeMap<u64, Function>, address: u64) -> Option<(u64, &Function)> {
    let (start, function) = functions.range(..=address).next_back()?;
    (address < function.end).then_some((*start, function))
}

fn exported(file: &File) -> BTreeMap<String, BTreeSet<u64>> {
    let mut all = BTreeMap::<_, BTreeSet<u64>>::new();
    let symbols = file.dynamic_symbols();
    for symbol in symbols.filter(|s| s.is_definition() && s.kind() == SymbolKind::Text) {
        let name = symbol.name().expect("ASCII").to_owned();
        all.entry(name).or_default().insert(symbol.address());
    }
    all
}

fn section(file: &File, name: &str) -> (u64, u64) {
    let found = file.section_by_name(name);
    found.map_or((0, 0), |s| (s.address(), s.address() + s.size()))
}

/// The functions, as the table for unwinding has them.
fn bounds(file: &File) -> BTreeMap<u64, Function> {
    let frames = file
        .section_by_name(".eh_frame")
        .expect("a table for unwinding");
    let bytes = frames.data().expect(".eh_frame");
    let mut table = EhFrame::new(bytes, LittleEndian);
    table.set_address_size(8);
    let bases = BaseAddresses::default().set_eh_frame(frames.address());
    let (mut entries, mut all) = (table.entries(&bases), BTreeMap::new());
    while let Some(entry) = entries.next().expect(".eh_frame") {
        if let CieOrFde::Fde(part) = entry {
            let fde = part.parse(EhFrame::cie_from_offset).expect(".eh_frame");
            let end = fde.initial_address() + fde.len();
            // Where a signal's handler returns to is a byte further on: unwinders look at the byte before.
            let start = fde.initial_address() + u64::from(fde.is_signal_trampoline());
            all.insert(
                start,
                Function {
                    end,
                    ..Function::default()
                },
            );
        }
    }
    // Of the stubs as a whole, which are no function.
    all.remove(&section(file, ".plt").0);
    all
}

/// Where pointers to code stand in the data: as relocations say.
fn pointers(file: &File) -> BTreeMap<u64, u64> {
    let mut all = BTreeMap::new();
    let symbols: HashMap<_, _> = file
        .dynamic_symbols()
        .map(|s| (s.index(), s.address()))
        .collect();
    for (at, relocation) in file.dynamic_relocations().into_iter().flatten() {
        let to = match relocation.target() {
            RelocationTarget::Symbol(index) => symbols.get(&index).copied().unwrap_or(0),
            _ => relocation.addend() as u64,
        };
        all.insert(at, to);
    }
    let mut at = 0;
    for word in words(file, ".relr.dyn") {
        if word & 1 == 0 {
            all.insert(word, 0);
            at = word + 8;
            continue;
        }
        let set = (0..63).filter(|bit| word >> (bit + 1) & 1 != 0);
        all.extend(set.map(|bit| (at + 8 * bit, 0)));
        at += 8 * 63;
    }
    let short: Vec<u64> = all
        .iter()
        .filter(|(_, to)| **to == 0)
        .map(|(at, _)| *at)
        .collect();
    for at in short {
        // These have what they point to in their place.
        let there = file
            .sections()
            .find_map(|s| s.data_range(at, 8).ok().flatten());
        let word = there.map_or(0, |b| u64::from_le_bytes(b.try_into().expect("8 bytes")));
        all.insert(at, word);
    }
    let (text, end) = (section(file, ".plt").0, section(file, ".rodata").0);
    all.retain(|_, to| (text..end).contains(to));
    all
}

fn words(file: &File, name: &str) -> Vec<u64> {
    let section = file.section_by_name(name);
    let data = section.and_then(|s| s.data().ok()).unwrap_or(&[]);
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
    data.chunks_exact(8).map(word).collect()
}

/// The instructions from there on: each with the address behind it.
fn instructions(file: &File, start: u64, end: u64) -> Vec<(u64, Instruction)> {
    let section = file
        .sections()
        .find(|s| (s.address()..s.address() + s.size()).contains(&start) && s.address() != 0);
    let bytes = section.and_then(|s| s.data_range(start, end - start).ok().flatten());
    let (mut rest, mut at, mut all) = (bytes.unwrap_or(&[]), start, Vec::new());
    let decoder = InstDecoder::default();
    while !rest.is_empty() {
        let decoded = decoder.decode_slice(rest).ok();
        let len = decoded.as_ref().map_or(1, |i| i.len().to_const() as usize);
        at += len as u64;
        all.extend(decoded.map(|instruction| (at, instruction)));
        rest = &rest[len.min(rest.len())..];
    }
    all
}

/// The address that an operand of this instruction has in the library.
fn address(next: u64, instruction: &Instruction) -> Option<u64> {
    (0..instruction.operand_count()).find_map(|n| match instruction.operand(n) {
        Operand::Disp { base, disp } if base == RegSpec::RIP => {
            Some(next.wrapping_add_signed(disp.into()))
        }
        _ => None,
    })
}

/// Where a jump or a call goes.
fn goes_to(next: u64, i: &Instruction) -> Option<u64> {
    let goes = matches!(i.opcode(), Opcode::CALL | Opcode::JMP) || i.opcode().condition().is_some();
    let by: i64 = match i.operand(0) {
        Operand::ImmediateI8 { imm } => imm.into(),
        Operand::ImmediateI32 { imm } => imm.into(),
        _ => return None,
    };
    goes.then(|| next.wrapping_add_signed(by))
}

fn look(
    file: &File,
    data: &Data,
    functions: &BTreeMap<u64, Function>,
    start: u64,
    end: u64,
) -> Function {
    let mut found = Function {
        end,
        ..Function::default()
    };
    let all = instructions(file, start, end);
    let starts = |at: u64| containing(functions, at).map(|(start, _)| start);
    for (n, (next, instruction)) in all.iter().enumerate() {
        if instruction.opcode() == Opcode::SYSCALL {
            found
                .numbers
                .insert(said(&all[..n], 0).map_or(UNKNOWN, |n| n as u32));
        }
        let mut to = goes_to(*next, instruction);
        if let Some(stub) = to.filter(|at| (data.stubs.0..data.stubs.1).contains(at)) {
            to = behind_stub(file, data, stub);
        }
        let at = address(*next, instruction);
        if let Some(at) = at {
            match data.pointers.get(&at) {
                Some(code) => to = Some(*code),
                None if (data.streams.0..data.streams.1).contains(&at) => {}
                None if instruction.opcode() == Opcode::LEA => match starts(at) {
                    Some(_) => to = Some(at),
                    None => _ = found.takes.insert(at),
                },
                None => {}
            }
            found.streams |= (data.streams.0..data.streams.1).contains(&at);
        }
        // Memory that is no file's is asked for with no number (-1, in r8).
        let is_anonymous = to == Some(data.mmap) && said(&all[..n], 8) == Some(-1);
        let to = to
            .and_then(starts)
            .filter(|to| *to != start && !is_anonymous);
        found.calls.extend(to);
    }
    if found.numbers.contains(&MMAP) && start != data.mmap && is_anonymous_here(&all) {
        found.numbers.remove(&MMAP);
    }
    found
}

/// Whether each mapping that a function makes by itself is no file's.
fn is_anonymous_here(all: &[(u64, Instruction)]) -> bool {
    let calls = all.iter().enumerate().filter(|(n, (_, i))| {
        i.opcode() == Opcode::SYSCALL && said(&all[..*n], 0) == Some(MMAP.into())
    });
    calls
        .into_iter()
        .all(|(n, _)| said(&all[..n], 8) == Some(-1))
}

/// What a register is made to be by the last of these that does; None: not a number that stands there.
fn said(before: &[(u64, Instruction)], register: u8) -> Option<i64> {
    let is = |operand: Operand, number: u8| {
        matches!(operand, Operand::Register { reg }
        if reg.num() == number && [RegSpec::rax().class(), RegSpec::eax().class()].contains(&reg.class()))
    };
    let changes = |i: &Instruction| {
        !matches!(i.opcode(), Opcode::CMP | Opcode::TEST | Opcode::PUSH)
            && is(i.operand(0), register)
    };
    let n = before.iter().rposition(|(_, i)| changes(i))?;
    let instruction = &before[n].1;
    match (instruction.opcode(), instruction.operand(1)) {
        (Opcode::XOR, other) if is(other.clone(), register) => Some(0),
        (Opcode::MOV, Operand::Register { reg }) => said(&before[..n], reg.num()),
        (Opcode::MOV, other) => number(other),
        (Opcode::OR, other) if number(other.clone()) == Some(-1) => Some(-1),
        _ => None,
    }
}

fn number(operand: Operand) -> Option<i64> {
    Some(match operand {
        Operand::ImmediateI8 { imm } => imm.into(),
        Operand::ImmediateI32 { imm } => imm.into(),
        Operand::ImmediateU32 { imm } => (imm as i32).into(),
        Operand::ImmediateI64 { imm } => imm,
        _ => return None,
    })
}

/// What a stub jumps to, if that is here.
fn behind_stub(file: &File, data: &Data, stub: u64) -> Option<u64> {
    let all = instructions(file, stub, (stub + 16).min(data.stubs.1));
    let slot = all.iter().find_map(|(next, i)| address(*next, i))?;
    data.pointers.get(&slot).copied()
}
