//! A program or a library as ELF has it: where its code stands, and which function an address belongs to. Read where it is
//! loaded, or, while the loader is still at it, in its file.

use core::cell::OnceCell;
use core::ffi::{CStr, c_char};

use super::go::Functions;
use gimli::{BaseAddresses, CfaRule, EhFrame, EhFrameHdr, LittleEndian, Pointer, UnwindSection};
use libc::{Elf64_Ehdr, Elf64_Phdr, PF_R, PF_X, PT_GNU_EH_FRAME, PT_LOAD};

const MOST: usize = 16;

/// A part of it that has bytes in the file.
#[derive(Clone, Copy, Default)]
struct Segment {
    /// Its address in the file's own numbering.
    address: usize,
    len: usize,
    /// Where the bytes can be read now.
    at: usize,
    /// Where they stand in the file.
    offset: usize,
    is_code: bool,
}

pub struct Image {
    /// Added to an address of the file's numbering: where that is loaded.
    pub base: usize,
    segments: [Segment; MOST],
    /// Of the index of functions; 0: there is none.
    index: usize,
    /// What Go has in its place, once somebody has asked.
    go: OnceCell<Option<Functions>>,
    /// The loader's own text; null: it isn't known yet.
    name: *const c_char,
}

/// A function's place, in the file's numbering.
pub struct Function<'a> {
    pub start: usize,
    pub code: &'a [u8],
}

impl Image {
    /// One that is loaded.
    ///
    /// # Safety
    /// It stays so for as long as this is used.
    pub unsafe fn loaded(info: &libc::dl_phdr_info) -> Image {
        // SAFETY: the loader says where the headers are and how many.
        let headers =
            unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let base = info.dlpi_addr as usize;
        let mut image = Image::new(headers, base, |h| base.wrapping_add(h.p_vaddr as usize));
        image.name = info.dlpi_name;
        image
    }

    /// One whose file is mapped to be read, and of which the loader has put `offset` of the file, which is code, at `at`.
    pub fn in_file(file: &[u8], offset: usize, at: usize) -> Option<Image> {
        let head: Elf64_Ehdr = read(file, 0)?;
        let mut headers = [EMPTY; MOST];
        let stand = (0..head.e_phnum.into()).zip(&mut headers);
        for (i, header) in stand {
            let entry = head.e_phoff as usize + i * usize::from(head.e_phentsize);
            *header = read(file, entry)?;
        }
        let start = file.as_ptr() as usize;
        let whole = |h: &Elf64_Phdr| {
            (h.p_offset as usize).saturating_add(h.p_filesz as usize) <= file.len()
        };
        if !headers.iter().all(whole) {
            return None;
        }
        let mut image = Image::new(&headers, 0, |h| start + h.p_offset as usize);
        let page = |n: usize| n / kernel::code::PAGE * kernel::code::PAGE;
        let mut code = image.segments.iter().filter(|s| s.is_code);
        let there = code.find(|s| page(s.offset) == offset)?;
        image.base = at.wrapping_sub(page(there.address));
        Some(image)
    }

    fn new(headers: &[Elf64_Phdr], base: usize, at: impl Fn(&Elf64_Phdr) -> usize) -> Image {
        let loads = |h: &&Elf64_Phdr| h.p_type == PT_LOAD && h.p_flags & PF_R != 0;
        let mut image = Image {
            base,
            segments: [Segment::default(); MOST],
            index: 0,
            go: OnceCell::new(),
            name: core::ptr::null(),
        };
        for (segment, h) in image.segments.iter_mut().zip(headers.iter().filter(loads)) {
            *segment = Segment {
                address: h.p_vaddr as usize,
                len: h.p_filesz as usize,
                at: at(h),
                offset: h.p_offset as usize,
                is_code: h.p_flags & PF_X != 0,
            };
        }
        let index = headers.iter().find(|h| h.p_type == PT_GNU_EH_FRAME);
        image.index = index.map_or(0, |h| h.p_vaddr as usize);
        image
    }

    /// Its file's; empty: the program's.
    pub fn name(&self) -> &[u8] {
        if self.name.is_null() {
            return b"a library that is being loaded";
        }
        // SAFETY: see `loaded`.
        unsafe { CStr::from_ptr(self.name) }.to_bytes()
    }

    /// Its file's name, as the loader has it; empty: it is the program. None while it is being loaded.
    pub fn loaded_from(&self) -> Option<&CStr> {
        // SAFETY: see `loaded`.
        (!self.name.is_null()).then(|| unsafe { CStr::from_ptr(self.name) })
    }

    /// Its code: each part with its address.
    pub fn code(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.segments
            .iter()
            .filter(|s| s.is_code)
            .map(|s| (s.address, s.bytes()))
    }

    /// All of it that has bytes: each part with its address.
    pub fn parts(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let there = self.segments.iter().filter(|s| s.len != 0);
        there.map(|s| (s.address, s.bytes()))
    }

    /// Whether its code is there where it is loaded.
    pub fn has_code_at(&self, at: usize) -> bool {
        self.code_range(at).is_some()
    }

    /// From where to where its code there is loaded.
    pub fn code_range(&self, at: usize) -> Option<(usize, usize)> {
        let address = at.wrapping_sub(self.base);
        let mut code = self.segments.iter().filter(|s| s.is_code);
        let there = code.find(|s| address.wrapping_sub(s.address) < s.len)?;
        let start = self.base.wrapping_add(there.address);
        Some((start, start + there.len))
    }

    /// Where its lowest byte is loaded.
    pub fn start(&self) -> usize {
        let there = self.segments.iter().filter(|s| s.len != 0);
        self.base
            .wrapping_add(there.map(|s| s.address).min().unwrap_or(0))
    }

    /// From the address to the end of its part.
    fn from(&self, address: usize) -> Option<&[u8]> {
        let has = |s: &&Segment| address.wrapping_sub(s.address) < s.len;
        let segment = self.segments.iter().find(has)?;
        segment.bytes().get(address - segment.address..)
    }

    /// So many bytes at the address.
    pub fn word<const N: usize>(&self, address: usize) -> Option<[u8; N]> {
        self.from(address)?.first_chunk().copied()
    }

    /// From one address to another.
    pub fn bytes(&self, from: usize, to: usize) -> Option<&[u8]> {
        self.from(from)?.get(..to.checked_sub(from)?)
    }

    /// What it is called in messages, for as long as the text is there.
    pub fn is_called(&mut self, name: &CStr) {
        self.name = name.as_ptr();
    }

    fn unwinding<R>(&self, address: usize, ask: impl FnOnce(&Unwinding) -> Option<R>) -> Option<R> {
        let index = EhFrameHdr::new(
            self.from(self.index).filter(|_| self.index != 0)?,
            LittleEndian,
        );
        let bases = BaseAddresses::default().set_eh_frame_hdr(self.index as u64);
        let index = index.parse(&bases, 8).ok()?;
        let Pointer::Direct(at) = index.eh_frame_ptr() else {
            return None;
        };
        let mut frames = EhFrame::new(self.from(at as usize)?, LittleEndian);
        frames.set_address_size(8);
        let bases = bases.set_eh_frame(at);
        let table = index.table()?;
        let entry =
            table.fde_for_address(&frames, &bases, address as u64, EhFrame::cie_from_offset);
        ask(&Unwinding {
            entry: entry.ok()?,
            frames,
            bases,
        })
    }

    /// The function that the address belongs to.
    pub fn function(&self, address: usize) -> Option<Function<'_>> {
        let known = self.unwinding(address, |u| {
            let (start, len) = (u.entry.initial_address(), u.entry.len());
            Some((start as usize, start.checked_add(len)? as usize))
        });
        let go = || self.go.get_or_init(|| Functions::of(self)).as_ref();
        let (start, end) = known.or_else(|| go()?.around(self, address))?;
        Some(Function {
            start,
            code: self.bytes(start, end)?,
        })
    }

    /// How far above the stack pointer the caller's stack begins when the function is at this address.
    pub fn frame(&self, address: usize) -> Option<u32> {
        self.unwinding(address, |u| {
            let mut room = gimli::UnwindContext::<usize, OnStack>::new_in();
            let row =
                u.entry
                    .unwind_info_for_address(&u.frames, &u.bases, &mut room, address as u64);
            match row.ok()?.cfa() {
                CfaRule::RegisterAndOffset { register, offset }
                    if *register == gimli::X86_64::RSP =>
                {
                    u32::try_from(*offset).ok()
                }
                _ => None,
            }
        })
    }
}

type Bytes<'a> = gimli::EndianSlice<'a, LittleEndian>;

struct Unwinding<'a> {
    entry: gimli::FrameDescriptionEntry<Bytes<'a>>,
    frames: EhFrame<Bytes<'a>>,
    bases: BaseAddresses,
}

/// Room for what is known of one address, without an allocation.
struct OnStack;

impl<T: gimli::ReaderOffset> gimli::UnwindContextStorage<T> for OnStack {
    type Rules = [(gimli::Register, gimli::RegisterRule<T>); 24];
    type Stack = [gimli::UnwindTableRow<T, Self>; 4];
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        // SAFETY: that much of the file is mapped there, readable (see `Image::new`).
        unsafe { core::slice::from_raw_parts(self.at as *const u8, self.len) }
    }
}

const EMPTY: Elf64_Phdr = Elf64_Phdr {
    p_type: 0,
    p_flags: 0,
    p_offset: 0,
    p_vaddr: 0,
    p_paddr: 0,
    p_filesz: 0,
    p_memsz: 0,
    p_align: 0,
};

/// One of ELF's structs, which any bytes are.
fn read<T: Plain>(bytes: &[u8], at: usize) -> Option<T> {
    let bytes = bytes.get(at..at.checked_add(size_of::<T>())?)?;
    // SAFETY: so many bytes are there, and `T` may hold any.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// # Safety
/// Any bytes are one.
unsafe trait Plain: Copy {}
// SAFETY: numbers only.
unsafe impl Plain for Elf64_Ehdr {}
// SAFETY: numbers only.
unsafe impl Plain for Elf64_Phdr {}
