//! System calls that stand in a file's own code, which no name leads to: each `syscall` instruction, and which number it is
//! made with. Read as the processor reads it, from the start of the function that it stands in.

use std::collections::BTreeMap;

#[cfg(target_arch = "x86_64")]
use super::object::Elf;

/// How often each number was found; calls whose number isn't said in the code before them.
#[derive(Default, Debug)]
pub struct Found {
    pub numbers: BTreeMap<u32, usize>,
    pub unknown: usize,
    /// An instruction gives io_uring_setup's number to a function, as who calls `syscall` does.
    pub gives_setup: bool,
    /// It was not read: another architecture.
    pub unread: bool,
}

#[cfg(not(target_arch = "x86_64"))]
pub fn find(_: &super::object::Elf) -> Found {
    Found {
        unread: true,
        ..Found::default()
    }
}

#[cfg(target_arch = "x86_64")]
pub fn find(elf: &Elf) -> Found {
    use object::{Object, ObjectSection, SectionKind};
    let mut found = Found::default();
    let functions = decoding::functions(elf);
    for section in elf.sections().filter(|s| s.kind() == SectionKind::Text) {
        if let Ok(code) = section.data() {
            decoding::calls(section.address(), code, &functions, &mut found);
            // mov edi, 425
            found.gives_setup |= code.windows(5).any(|bytes| bytes == [0xbf, 0xa9, 1, 0, 0]);
        }
    }
    found
}

#[cfg(target_arch = "x86_64")]
mod decoding {
    use super::super::object::Elf;
    use super::Found;
    use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};
    use object::{Object, ObjectSection};
    use yaxpeax_arch::LengthedInstruction;
    use yaxpeax_x86::long_mode::{InstDecoder, Instruction, Opcode, Operand};

    /// Where each function begins and how long it is, in order: from the table that unwinding uses.
    pub fn functions(elf: &Elf) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        let Some(section) = elf.section_by_name(".eh_frame") else {
            return all;
        };
        let Ok(data) = section.data() else { return all };
        let mut frames = EhFrame::new(data, LittleEndian);
        frames.set_address_size(8);
        let bases = BaseAddresses::default().set_eh_frame(section.address());
        let mut entries = frames.entries(&bases);
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else {
                continue;
            };
            if let Ok(fde) = partial.parse(EhFrame::cie_from_offset) {
                all.push((fde.initial_address(), fde.len()));
            }
        }
        all.sort_unstable();
        all
    }

    pub fn calls(address: u64, code: &[u8], functions: &[(u64, u64)], found: &mut Found) {
        let hits = code.windows(2).enumerate();
        let hits = hits
            .filter(|(_, bytes)| *bytes == [0x0f, 0x05])
            .map(|(at, _)| at);
        let mut done_to = 0;
        for at in hits {
            let at = address + at as u64;
            if at < done_to {
                continue;
            }
            let index = functions.partition_point(|(start, _)| *start <= at);
            let function = index.checked_sub(1).and_then(|i| functions.get(i));
            let inside = |(start, len): &&(u64, u64)| at < start + len && *start >= address;
            let Some((start, len)) = function.filter(inside) else {
                alone(code, (at - address) as usize, found);
                continue;
            };
            let from = (start - address) as usize;
            let end = (from + *len as usize).min(code.len());
            function_calls(&code[from..end], found);
            done_to = start + len;
        }
    }

    /// Where no function is known: the number may stand right before.
    fn alone(code: &[u8], at: usize, found: &mut Found) {
        let before = at.checked_sub(5).and_then(|from| code.get(from..at));
        if let Some([0xb8, number @ ..]) = before
            && let Ok(number) = <[u8; 4]>::try_from(number)
        {
            *found.numbers.entry(u32::from_le_bytes(number)).or_default() += 1;
        }
    }

    fn function_calls(mut code: &[u8], found: &mut Found) {
        let decoder = InstDecoder::default();
        let mut number = None;
        while let Ok(instruction) = decoder.decode_slice(code) {
            let len = instruction.len().to_const() as usize;
            match instruction.opcode() {
                Opcode::SYSCALL => {
                    match number {
                        Some(number) => *found.numbers.entry(number).or_default() += 1,
                        None => found.unknown += 1,
                    }
                    number = None;
                }
                Opcode::CALL => number = None,
                _ => number = after(&instruction, number),
            }
            match code.get(len..) {
                Some(rest) if len != 0 && !rest.is_empty() => code = rest,
                _ => return,
            }
        }
    }

    /// What is known of rax behind an instruction.
    fn after(i: &Instruction, before: Option<u32>) -> Option<u32> {
        let is_rax = |operand: &Operand| matches!(operand, Operand::Register { reg } if reg.num() == 0 && is_general(*reg));
        if i.operand_count() == 0 || !is_rax(&i.operand(0)) {
            return before;
        }
        match (i.opcode(), i.operand(1)) {
            (Opcode::CMP | Opcode::TEST | Opcode::PUSH | Opcode::NOP, _) => before,
            (Opcode::MOV, Operand::ImmediateI32 { imm }) => u32::try_from(imm).ok(),
            (Opcode::MOV, Operand::ImmediateU32 { imm }) => Some(imm),
            (Opcode::MOV, Operand::ImmediateI64 { imm }) => u32::try_from(imm).ok(),
            (Opcode::XOR, source) if is_rax(&source) => Some(0),
            _ => None,
        }
    }

    fn is_general(reg: yaxpeax_x86::long_mode::RegSpec) -> bool {
        use yaxpeax_x86::long_mode::register_class::{B, D, Q, RB, W};
        [Q, D, W, B, RB].contains(&reg.class())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn numbers_are_read_from_the_code_before() {
            let mut found = Found::default();
            let code = [
                0xb8, 18, 0, 0, 0, // mov eax, 18
                0x48, 0x89, 0xfe, // mov rsi, rdi
                0x0f, 0x05, // syscall
                0x31, 0xc0, // xor eax, eax
                0x0f, 0x05, // syscall
                0x89, 0xf8, // mov eax, edi
                0x0f, 0x05, // syscall
                0xb9, 0x0f, 0x05, 0, 0, // mov ecx, 0x50f: no call
                0xc3,
            ];
            calls(0x1000, &code, &[(0x1000, code.len() as u64)], &mut found);
            let numbers: Vec<_> = found.numbers.into_iter().collect();
            assert_eq!((numbers, found.unknown), (vec![(0, 1), (18, 1)], 1));
        }
    }
}
