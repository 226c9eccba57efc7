//! Machine code, read as the processor reads it: where its instructions begin is known only by going through the function
//! from its start.

use super::image::Function;
use memchr::arch::all::packedpair::Pair;
use memchr::arch::x86_64::sse2::packedpair::Finder;
use yaxpeax_arch::LengthedInstruction;
use yaxpeax_x86::long_mode::{InstDecoder, Instruction, Opcode, Operand, register_class};

/// `mov eax, imm32`: the first byte, and all.
pub const MOV: u8 = 0xb8;
pub const MOV_LEN: usize = 5;
/// `syscall`.
pub const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// The bytes of a `mov eax, number`.
pub fn mov(number: u32) -> [u8; MOV_LEN] {
    let [a, b, c, d] = number.to_le_bytes();
    [MOV, a, b, c, d]
}

/// Where the bytes of a `mov eax, number` stand among these. Every start of a program looks: by the instructions that all
/// x86-64 processors have, because to ask for better ones (CPUID) takes longer than most programs are, in a virtual machine.
pub fn places(bytes: &[u8], number: u32) -> impl Iterator<Item = usize> + '_ {
    let wanted = mov(number);
    // By the first two, which are the rarest in code; zeroes are everywhere.
    let finder =
        Pair::with_indices(&wanted, 0, 1).and_then(|pair| Finder::with_pair(&wanted, pair));
    let mut from = 0;
    core::iter::from_fn(move || {
        let rest = bytes.get(from..)?;
        let next = match &finder {
            Some(finder) if rest.len() >= finder.min_haystack_len() => finder.find(rest, &wanted),
            _ => rest.windows(MOV_LEN).position(|there| there == wanted),
        };
        let at = from + next?;
        from = at + 1;
        Some(at)
    })
}

/// Where the bytes of a `syscall` stand among these.
pub fn system_calls(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let finder =
        Pair::with_indices(&SYSCALL, 0, 1).and_then(|pair| Finder::with_pair(&SYSCALL, pair));
    let mut from = 0;
    core::iter::from_fn(move || {
        let rest = bytes.get(from..)?;
        let next = match &finder {
            Some(finder) if rest.len() >= finder.min_haystack_len() => finder.find(rest, &SYSCALL),
            _ => rest
                .windows(SYSCALL.len())
                .position(|there| there == SYSCALL),
        };
        let at = from + next?;
        from = at + 1;
        Some(at)
    })
}

/// What comes behind a `mov eax, number`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behind {
    /// The system call.
    Syscall,
    /// Some other instructions, which leave that register alone, and then the system call: nothing leads out of them.
    SyscallLater,
}

/// Whether an instruction begins there, which is `mov eax, imm32`, on the way to a system call. None: it isn't.
pub fn behind(function: &Function, address: usize) -> Option<Behind> {
    const FAR: usize = 12;
    let mut instructions =
        Instructions::of(function).skip_while(|(at, i)| *at < address && i.is_some());
    let (at, mov) = instructions.next()?;
    let mov = mov.filter(|i| at == address && i.opcode() == Opcode::MOV && writes_result(i))?;
    if length(&mov) != MOV_LEN {
        return None;
    }
    for (steps, (_, instruction)) in instructions.take(FAR).enumerate() {
        let instruction = instruction?;
        match instruction.opcode() {
            Opcode::SYSCALL if steps == 0 => return Some(Behind::Syscall),
            Opcode::SYSCALL => return Some(Behind::SyscallLater),
            _ if goes_on(&instruction) => {}
            _ => return None,
        }
    }
    None
}

/// Whether the function keeps anything in the registers that only its own calls would lose.
pub fn uses_vectors(function: &Function) -> bool {
    Instructions::of(function).any(|(_, instruction)| {
        let Some(i) = instruction else {
            return true;
        };
        (0..i.operand_count()).any(|n| is_vector(&i.operand(n)))
    })
}

fn is_vector(operand: &Operand) -> bool {
    use register_class::{B, D, Q, RB, W};
    let general = [Q, D, W, B, RB];
    match operand {
        Operand::Register { reg } => !general.contains(&reg.class()),
        Operand::RegisterMaskMerge { .. }
        | Operand::RegisterMaskMergeSae { .. }
        | Operand::RegisterMaskMergeSaeNoround { .. } => true,
        _ => false,
    }
}

/// Whether its first operand is rax, or a part of that.
pub fn writes_result(i: &Instruction) -> bool {
    matches!(i.operand(0), Operand::Register { reg } if reg.num() == 0)
}

pub fn length(i: &Instruction) -> usize {
    i.len().to_const() as usize
}

/// One that only moves or calculates, elsewhere.
pub fn goes_on(i: &Instruction) -> bool {
    only_calculates(i) && !writes_result(i)
}

/// One that only moves or calculates.
pub fn only_calculates(i: &Instruction) -> bool {
    use Opcode::*;
    matches!(
        i.opcode(),
        MOV | LEA
            | PUSH
            | POP
            | TEST
            | CMP
            | SHL
            | SHR
            | SAR
            | NEG
            | NOT
            | INC
            | DEC
            | XOR
            | AND
            | OR
            | ADD
            | SUB
            | MOVZX
            | MOVSX
            | MOVSXD
            | NOP
            | MOVUPS
            | MOVAPS
            | MOVUPD
            | MOVAPD
            | MOVDQU
            | MOVDQA
            | MOVQ
            | MOVD
            | PXOR
            | XORPS
    )
}

/// Of a function, from its start: each with its address; None for one that isn't known, after which there is nothing.
pub struct Instructions<'a> {
    at: usize,
    rest: &'a [u8],
    decoder: InstDecoder,
}

impl<'a> Instructions<'a> {
    pub fn of(function: &Function<'a>) -> Instructions<'a> {
        Instructions {
            at: function.start,
            rest: function.code,
            decoder: InstDecoder::default(),
        }
    }
}

impl Iterator for Instructions<'_> {
    type Item = (usize, Option<Instruction>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.at;
        let decoded = self.decoder.decode_slice(self.rest).ok();
        let len = decoded.as_ref().map_or(0, length);
        self.rest = self.rest.get(len..).filter(|_| len != 0).unwrap_or(&[]);
        self.at += len;
        Some((at, decoded))
    }
}
