//! Where the functions of Go begin: it makes no table for unwinding, but one of its own ("pclntab"), which its run-time
//! system needs and so every program has. Since Go 1.18 that says how far behind the code's beginning each function begins;
//! where that is stands in the description of the module, which begins with the table's address.

use super::image::Image;

/// What the table begins with: a version, two zeroes, the size of the smallest step between instructions, and of an address.
const HEADS: [u64; 2] = [0x0801_0000_ffff_fff0, 0x0801_0000_ffff_fff1];
/// Where the head says how many functions there are, and where the list is.
const COUNT: usize = 8;
const LIST: usize = 64;
/// An entry: where the function begins, and where more is said of it; behind the last one stands where that ends.
const ENTRY: usize = 8;
/// Where the module's description says the list's address, and the code's.
const MODULE_LIST: usize = 128;
const MODULE_TEXT: usize = 176;

/// In the file's numbering.
#[derive(Clone, Copy, Debug)]
pub struct Functions {
    text: usize,
    list: usize,
    count: usize,
}

impl Functions {
    /// Those of the image, if it is Go's.
    pub fn of(image: &Image) -> Option<Functions> {
        words(image, |word| HEADS.contains(&(word as u64))).find_map(|at| Functions::at(image, at))
    }

    /// What only looks like a head belongs to no module.
    fn at(image: &Image, head: usize) -> Option<Functions> {
        let word = |at: usize| Some(usize::from_le_bytes(image.word(at)?));
        let list = head.checked_add(word(head.checked_add(LIST)?)?)?;
        let count = word(head.checked_add(COUNT)?)?;
        // Addresses are those where it is loaded.
        let here = |at: usize| image.base.wrapping_add(at);
        let mut modules = words(image, |word| word == here(head));
        let module = modules.find(|module| word(module + MODULE_LIST) == Some(here(list)))?;
        let text = word(module + MODULE_TEXT)?.wrapping_sub(image.base);
        let all = Functions { text, list, count };
        image.bytes(all.start(image, 0)?, all.start(image, count)?)?;
        Some(all)
    }

    /// Where the function of this index begins; behind the last one, where that ends.
    fn start(&self, image: &Image, index: usize) -> Option<usize> {
        let entry = self.list.checked_add(index.checked_mul(ENTRY)?)?;
        let behind = u32::from_le_bytes(image.word(entry)?);
        self.text.checked_add(behind as usize)
    }

    /// From where to where the function reaches that has this address.
    pub fn around(&self, image: &Image, address: usize) -> Option<(usize, usize)> {
        let (mut low, mut high) = (0, self.count);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.start(image, middle)? <= address {
                true => low = middle,
                false => high = middle,
            }
        }
        let (start, end) = (self.start(image, low)?, self.start(image, high)?);
        (start..end).contains(&address).then_some((start, end))
    }
}

/// Where words of the image stand that are such.
fn words(image: &Image, is: impl Fn(usize) -> bool) -> impl Iterator<Item = usize> {
    const WORD: usize = size_of::<usize>();
    let all = image.parts().flat_map(|(start, bytes)| {
        // Where the file's numbering has them at whole words.
        let first = start.next_multiple_of(WORD);
        let whole = bytes.get(first - start..).unwrap_or(&[]);
        let words = whole.chunks_exact(WORD).enumerate();
        words.filter_map(move |(n, word)| Some((first + n * WORD, word.first_chunk()?)))
    });
    all.filter(move |(_, word)| is(usize::from_le_bytes(**word)))
        .map(|(at, _)| at)
}
