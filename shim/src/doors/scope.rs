//! What names stand for behind this library, of all the names of the table at once: at the start the loader would be asked
//! three hundred times (`dlsym` with `RTLD_NEXT`), and that was half of what the start took in instructions. Here it is
//! read from the same tables that the loader looks into, in the same order, up to and including libc; names' hashes are
//! computed while we are compiled.
//!
//! Nothing is guessed. Libraries that were loaded with the program stand in the loader's list in the order in which it
//! searches them; a name that the first of them has that is behind us is what the loader would say. Whatever isn't plain is
//! asked of the loader: a name that is found in none up to libc, one that a function stands for which chooses among others,
//! and all names where a library has no such table or libc isn't behind us.

use core::ffi::{CStr, c_char, c_int, c_void};

use libc::{Elf64_Phdr, Elf64_Sym, PT_DYNAMIC, PT_LOAD};

/// Libraries between us and libc of which it is known; a program with more asks the loader for what the others have.
const MOST: usize = 12;

/// The libraries behind this one, as far as is known, and what they give.
pub struct Scope {
    libraries: [Names; MOST],
    count: usize,
}

/// A library's names, as the loader has them.
#[derive(Clone, Copy)]
struct Names {
    base: usize,
    symbols: *const Elf64_Sym,
    texts: *const c_char,
    /// Null: the library has no versions.
    versions: *const u16,
    hashes: *const u32,
}

/// What one library says.
enum Answer {
    Nothing,
    At(usize),
    /// The loader is asked.
    Unclear,
}

/// As the loader's tables have it (DT_GNU_HASH).
pub const fn hash(name: &CStr) -> u32 {
    let mut rest = name.to_bytes();
    let mut hash: u32 = 5381;
    while let [byte, others @ ..] = rest {
        hash = hash.wrapping_mul(33).wrapping_add(*byte as u32);
        rest = others;
    }
    hash
}

/// What the loader says of the libraries, one after the other.
struct Look {
    scope: Scope,
    /// An address in this library, and one in libc.
    marks: [usize; 2],
    at: Place,
}

#[derive(PartialEq)]
enum Place {
    BeforeUs,
    Behind,
    /// It holds no more, or libc has been seen.
    Done,
    Odd,
}

impl Scope {
    /// In the constructor: what was loaded with the program stays.
    pub fn behind_us() -> Scope {
        let none = Names {
            base: 0,
            symbols: core::ptr::null(),
            texts: core::ptr::null(),
            versions: core::ptr::null(),
            hashes: core::ptr::null(),
        };
        let mut look = Look {
            scope: Scope {
                libraries: [none; MOST],
                count: 0,
            },
            marks: [
                Scope::behind_us as *const () as usize,
                libc::gnu_get_libc_version as *const () as usize,
            ],
            at: Place::BeforeUs,
        };
        // SAFETY: the callback gets what it expects, and doesn't keep it.
        unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut look).cast()) };
        if look.at != Place::Done {
            look.scope.count = 0;
        }
        look.scope
    }

    /// What the name stands for. None: the loader knows.
    pub fn find(&self, name: &CStr, hash: u32) -> Option<usize> {
        for library in self.libraries.iter().take(self.count) {
            match library.find(name, hash) {
                Answer::Nothing => {}
                Answer::At(at) => return Some(at),
                Answer::Unclear => return None,
            }
        }
        None
    }
}

unsafe extern "C" fn one(info: *mut libc::dl_phdr_info, _: usize, look: *mut c_void) -> c_int {
    // SAFETY: what the loader says, during the call, and the struct of `behind_us`.
    let (info, look) = unsafe { (&*info, &mut *look.cast::<Look>()) };
    // SAFETY: the loader says where the headers are and how many.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let base = info.dlpi_addr as usize;
    let [ours, libcs] = look.marks.map(|mark| {
        let has = |h: &Elf64_Phdr| {
            mark.wrapping_sub(base.wrapping_add(h.p_vaddr as usize)) < h.p_memsz as usize
        };
        headers.iter().any(|h| h.p_type == PT_LOAD && has(h))
    });
    if look.at == Place::BeforeUs {
        look.at = match (ours, libcs) {
            (true, _) => Place::Behind,
            (_, true) => Place::Odd,
            _ => Place::BeforeUs,
        };
        return c_int::from(look.at == Place::Odd);
    }
    // SAFETY: a plain call.
    if base == unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize {
        return 0; // the kernel's, which the loader doesn't search
    }
    let room = look.scope.libraries.get_mut(look.scope.count);
    look.at = match (room, Names::of(base, headers)) {
        (None, _) => Place::Done,
        (_, None) => Place::Odd,
        (Some(room), Some(names)) => {
            *room = names;
            look.scope.count += 1;
            match libcs {
                true => Place::Done,
                false => Place::Behind,
            }
        }
    };
    c_int::from(look.at != Place::Behind)
}

impl Names {
    fn of(base: usize, headers: &[Elf64_Phdr]) -> Option<Names> {
        const TEXTS: u64 = 5;
        const SYMBOLS: u64 = 6;
        const HASHES: u64 = 0x6fff_fef5;
        const VERSIONS: u64 = 0x6fff_fff0;
        let dynamic = headers.iter().find(|h| h.p_type == PT_DYNAMIC)?;
        let mut entry = base.wrapping_add(dynamic.p_vaddr as usize) as *const [u64; 2];
        let (mut texts, mut symbols, mut hashes, mut versions) = (0, 0, 0, 0);
        loop {
            // SAFETY: the library's list, which ends with a zero.
            let [tag, value] = unsafe { entry.read() };
            match tag {
                0 => break,
                TEXTS => texts = value as usize,
                SYMBOLS => symbols = value as usize,
                HASHES => hashes = value as usize,
                VERSIONS => versions = value as usize,
                _ => {}
            }
            // SAFETY: as above: this one wasn't the last.
            entry = unsafe { entry.add(1) };
        }
        // The loader has made addresses of them; one that hasn't is another loader.
        let is_address = |at: &usize| *at >= base && *at != 0;
        let all = [texts, symbols, hashes].iter().all(is_address);
        let names = (all && (versions == 0 || is_address(&versions))).then_some(Names {
            base,
            symbols: symbols as *const Elf64_Sym,
            texts: texts as *const c_char,
            versions: versions as *const u16,
            hashes: hashes as *const u32,
        })?;
        let [buckets, _, words, _] = names.head();
        (buckets != 0 && words != 0).then_some(names)
    }

    /// How many buckets the table has, its first symbol, how many words its filter has, and by how much that shifts.
    fn head(&self) -> [u32; 4] {
        // SAFETY: the table of a library that stays loaded begins with these.
        unsafe { self.hashes.cast::<[u32; 4]>().read() }
    }

    fn find(&self, name: &CStr, hash: u32) -> Answer {
        let [buckets, first, words, shift] = self.head();
        // SAFETY: the table as it is laid out (the head, a filter of 64-bit words, the first entry of each bucket, a hash for
        // each symbol from the first that is listed), in a library that stays loaded.
        unsafe {
            let filter = self.hashes.add(4).cast::<u64>();
            let word = filter.add((hash / 64 % words) as usize).read();
            if word >> (hash % 64) & word >> (hash.wrapping_shr(shift) % 64) & 1 == 0 {
                return Answer::Nothing;
            }
            let heads = filter.add(words as usize).cast::<u32>();
            let chain = heads.add(buckets as usize);
            let mut at = heads.add((hash % buckets) as usize).read();
            if at < first {
                return Answer::Nothing;
            }
            loop {
                let other = chain.add((at - first) as usize).read();
                if (other ^ hash) >> 1 == 0
                    && let Some(answer) = self.symbol(at as usize, name)
                {
                    return answer;
                }
                if other & 1 != 0 {
                    return Answer::Nothing;
                }
                at += 1;
            }
        }
    }

    /// What that symbol says, if it has the name and is the one for programs that are linked today.
    ///
    /// # Safety
    /// There are so many symbols.
    unsafe fn symbol(&self, at: usize, name: &CStr) -> Option<Answer> {
        const HIDDEN: u16 = 0x8000;
        const FUNCTION: u8 = 2;
        const WEAK: u8 = 2;
        const GLOBAL: u8 = 1;
        const ABSOLUTE: u16 = 0xfff1;
        // SAFETY: the loader's tables, in which texts are terminated; every symbol has a version if there are any.
        let (symbol, is_hidden, is_it) = unsafe {
            let symbol = self.symbols.add(at).read();
            let is_hidden = !self.versions.is_null() && self.versions.add(at).read() & HIDDEN != 0;
            // Up to the first byte that differs: no further than both reach.
            let text = self.texts.add(symbol.st_name as usize).cast::<u8>();
            let mut bytes = name.to_bytes_with_nul().iter().enumerate();
            let is_it = bytes.all(|(i, byte)| text.add(i).read() == *byte);
            (symbol, is_hidden, is_it)
        };
        // Not defined here, or for programs that were linked long ago.
        if symbol.st_shndx == 0 || symbol.st_value == 0 || is_hidden || !is_it {
            return None;
        }
        let (binding, kind) = (symbol.st_info >> 4, symbol.st_info & 15);
        let plain = kind == FUNCTION
            && (binding == GLOBAL || binding == WEAK)
            && symbol.st_shndx != ABSOLUTE;
        Some(match plain {
            true => Answer::At(self.base.wrapping_add(symbol.st_value as usize)),
            false => Answer::Unclear,
        })
    }
}
