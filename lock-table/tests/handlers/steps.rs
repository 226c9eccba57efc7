//! A call that a handler enters at any one of its instructions. The trap flag shows once which way the call goes; then a
//! breakpoint stands at the instruction, whose trap is the signal that comes in there. (To step that far each time would
//! take a hundred times as long.)
//!
//! Breakpoints stand in the program's own code, so one thread at a time may be here. Another that meets one waits until
//! it is gone.

use std::arch::naked_asm;
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

const TRAP_FLAG: i64 = 1 << 8;
const BREAKPOINT: u8 = 0xcc;
/// A call has fewer instructions than this, or isn't one of those that are meant.
const MOST: usize = 1 << 20;

/// An instruction of a call: where it stands, and which time round.
#[derive(Clone, Copy)]
pub struct Instruction {
    address: u64,
    times: usize,
}

/// How a call went on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Went {
    /// The handler came in and returned, and the call was done.
    On,
    /// The handler jumped out.
    Out,
    /// The call was done before it came to the instruction.
    Past,
}

/// Where a handler that jumps out goes on.
#[repr(C)]
#[derive(Default)]
struct Out {
    stack: u64,
    code: u64,
}

/// What is done at a trap.
enum Plan<'a> {
    /// The trap flag is set: note every address.
    Watch(Vec<u64>),
    Enter(Entry<'a>),
}

struct Entry<'a> {
    breakpoint: Breakpoint,
    times: usize,
    handler: &'a mut dyn FnMut(),
    jump: bool,
    out: Out,
}

thread_local! {
    static PLAN: Cell<*mut Plan<'static>> = const { Cell::new(ptr::null_mut()) };
}

/// All instructions of a call, which is made once.
pub fn watch(call: &dyn Fn()) -> Vec<Instruction> {
    let mut plan = Plan::Watch(Vec::with_capacity(MOST));
    lead(call, &raw mut plan, TRAP_FLAG);
    let Plan::Watch(addresses) = plan else {
        unreachable!()
    };
    let mut met = std::collections::HashMap::new();
    let number = |address| {
        let times = met.entry(address).or_insert(0);
        *times += 1;
        Instruction {
            address,
            times: *times,
        }
    };
    addresses.into_iter().map(number).collect()
}

/// Makes a call. At this instruction the handler comes in; it must not panic.
pub fn enter(call: &dyn Fn(), at: Instruction, jump: bool, handler: &mut dyn FnMut()) -> Went {
    let mut breakpoint = Breakpoint::at(at.address);
    breakpoint.set();
    let mut plan = Plan::Enter(Entry {
        breakpoint,
        times: at.times,
        handler,
        jump,
        out: Out::default(),
    });
    let jumped = lead(call, &raw mut plan, 0);
    let Plan::Enter(mut entry) = plan else {
        unreachable!()
    };
    entry.breakpoint.clear();
    match entry.times {
        0 if jumped => Went::Out,
        0 => Went::On,
        _ => Went::Past,
    }
}

fn lead(call: &dyn Fn(), plan: *mut Plan, flag: i64) -> bool {
    handle_traps();
    PLAN.set(plan.cast());
    let mut out = Out::default();
    // SAFETY: the plan is the caller's, who waits for us.
    let to_out = match unsafe { &mut *plan } {
        Plan::Watch(_) => &raw mut out,
        Plan::Enter(entry) => &raw mut entry.out,
    };
    // SAFETY: the plan and the call outlive this; who jumps out leaves frames that own nothing.
    let jumped = unsafe { step(make, (&raw const call).cast(), to_out, flag) };
    PLAN.set(ptr::null_mut());
    jumped != 0
}

extern "C" fn make(call: *const c_void) {
    // SAFETY: from `lead`.
    let call = unsafe { *call.cast::<&dyn Fn()>() };
    call();
}

/// Calls with this flag set. 0: it has returned; 1: a handler went on at `out`.
#[unsafe(naked)]
unsafe extern "C" fn step(
    call: extern "C" fn(*const c_void),
    argument: *const c_void,
    out: *mut Out,
    flag: i64,
) -> i32 {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rdx], rsp",
        "lea rax, [rip + 2f]",
        "mov [rdx + 8], rax",
        "mov rax, rdi",
        "mov rdi, rsi",
        "pushfq",
        "or qword ptr [rsp], rcx",
        "popfq",
        "call rax",
        "pushfq",
        "and qword ptr [rsp], -0x101",
        "popfq",
        "xor eax, eax",
        "jmp 3f",
        "2:",
        "mov eax, 1",
        "3:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

fn handle_traps() {
    // SAFETY: the handler touches nothing but its thread's plan.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_trap as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &action, ptr::null_mut()), 0);
    }
}

/// One byte of the program's code.
struct Breakpoint {
    at: *mut u8,
    code: u8,
}

impl Breakpoint {
    fn at(address: u64) -> Breakpoint {
        const PAGE: usize = 4096;
        let at = ptr::with_exposed_provenance_mut::<u8>(address as usize);
        let page = at.map_addr(|at| at & !(PAGE - 1));
        let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        // SAFETY: a page of code, of which this process gets a copy of its own; and a byte of it.
        unsafe {
            assert_eq!(libc::mprotect(page.cast(), PAGE, all), 0);
            let code = at.read_volatile();
            Breakpoint { at, code }
        }
    }

    fn set(&mut self) {
        // SAFETY: made writable; no other thread is in this code.
        unsafe { self.at.write_volatile(BREAKPOINT) };
    }

    fn clear(&mut self) {
        // SAFETY: made writable.
        unsafe { self.at.write_volatile(self.code) };
    }
}

extern "C" fn on_trap(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's context is the handler's to change.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    // SAFETY: a thread that has a plan is in `lead`, and the plan stands.
    let Some(plan) = (unsafe { PLAN.get().as_mut() }) else {
        registers[libc::REG_RIP as usize] -= 1; // somebody else's breakpoint: try again
        return;
    };
    match plan {
        // No allocation: there is room.
        Plan::Watch(addresses) if addresses.len() < MOST => {
            addresses.push(registers[libc::REG_RIP as usize] as u64);
        }
        Plan::Watch(_) => registers[libc::REG_EFL as usize] &= !TRAP_FLAG,
        Plan::Enter(entry) => entry.trapped(registers),
    }
}

impl Entry<'_> {
    fn trapped(&mut self, registers: &mut [i64; 23]) {
        let address = self.breakpoint.at.addr() as i64;
        if registers[libc::REG_EFL as usize] & TRAP_FLAG != 0 {
            // It was passed over for this time.
            registers[libc::REG_EFL as usize] &= !TRAP_FLAG;
            self.breakpoint.set();
            return;
        }
        self.breakpoint.clear();
        registers[libc::REG_RIP as usize] = address;
        self.times -= 1;
        if self.times > 0 {
            registers[libc::REG_EFL as usize] |= TRAP_FLAG;
            return;
        }
        (self.handler)();
        if self.jump {
            registers[libc::REG_RSP as usize] = self.out.stack as i64;
            registers[libc::REG_RIP as usize] = self.out.code as i64;
        }
    }
}
