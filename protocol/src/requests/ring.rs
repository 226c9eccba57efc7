//! A ring of completions, laid out as the kernel's (`struct aio_ring`), which programs may look at by themselves.
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use kernel::aio::Event;

/// How many completions are taken at once.
pub const BATCH: usize = 8;

const MAGIC: u32 = 0xa10a_10a1;

/// Its first 32 bytes.
#[repr(C)]
struct Head {
    id: AtomicU32,
    places: AtomicU32,
    head: AtomicU32,
    tail: AtomicU32,
    magic: AtomicU32,
    compatible: AtomicU32,
    incompatible: AtomicU32,
    length: AtomicU32,
}

/// Where one lies, and how many places it has. The program may write over its head, and then finds what it deserves, but
/// no place outside is touched.
#[derive(Clone, Copy)]
pub struct Ring {
    at: *mut Head,
    places: u32,
}

type Cells = [AtomicU64; 4];

/// How much memory so many places take.
pub fn bytes(places: u32) -> usize {
    let bytes = size_of::<Head>() + places as usize * size_of::<Event>();
    bytes.next_multiple_of(lock_table::page() as usize)
}

impl Ring {
    /// One of ours with as many places as the kernel's. None: no memory.
    pub fn like(other: &Ring) -> Option<Ring> {
        let at = kernel::map_anonymous(bytes(other.places))?.cast::<Head>();
        let ring = Ring {
            at,
            places: other.places,
        };
        let head = ring.head();
        head.places.store(ring.places, Relaxed);
        head.id.store(other.head().id.load(Relaxed), Relaxed);
        head.magic.store(MAGIC, Relaxed);
        head.compatible.store(1, Relaxed);
        head.length.store(size_of::<Head>() as u32, Relaxed);
        Some(ring)
    }

    /// The kernel's, in a context that it has just made. None: it is none that we know.
    ///
    /// # Safety
    /// `context` is what `io_setup` gave.
    pub unsafe fn of_kernel(context: usize) -> Option<Ring> {
        let at = context as *mut Head;
        // SAFETY: the address of a mapped `struct aio_ring`, as the caller says.
        let head = unsafe { &*at };
        let places = head.places.load(Relaxed);
        let known = head.magic.load(Relaxed) == MAGIC
            && head.incompatible.load(Relaxed) == 0
            && head.length.load(Relaxed) as usize == size_of::<Head>();
        (known && places > 1).then_some(Ring { at, places })
    }

    /// # Safety
    /// There is one at this address, with so many places.
    pub unsafe fn at(address: usize, places: u32) -> Ring {
        Ring {
            at: address as *mut Head,
            places,
        }
    }

    pub fn address(&self) -> usize {
        self.at as usize
    }

    pub fn places(&self) -> u32 {
        self.places
    }

    fn head(&self) -> &Head {
        // SAFETY: mapped and of atomics only, as whoever made this promises.
        unsafe { &*self.at }
    }

    fn cells(&self, place: u32) -> &Cells {
        // SAFETY: `place` is below `places` in all callers, and the places stand behind the head.
        unsafe { &*self.at.add(1).cast::<Cells>().add(place as usize) }
    }

    fn after(&self, place: u32) -> u32 {
        match place + 1 {
            next if next < self.places => next,
            _ => 0,
        }
    }

    /// The place of the first that nobody has taken yet.
    pub fn first(&self) -> u32 {
        self.head().head.load(Acquire) % self.places
    }

    fn end(&self) -> u32 {
        self.head().tail.load(Acquire) % self.places
    }

    pub fn is_empty(&self) -> bool {
        self.first() == self.end()
    }

    /// How many nobody has taken yet.
    pub fn waiting(&self) -> u32 {
        let (first, end) = (self.first(), self.end());
        match end >= first {
            true => end - first,
            false => self.places - first + end,
        }
    }

    /// The first ones, as many as there are and fit; and the place behind them, for [`take_to`](Ring::take_to).
    pub fn look<'a>(&self, into: &'a mut [Event]) -> (&'a [Event], u32) {
        let (mut at, end) = (self.first(), self.end());
        let mut count = 0;
        for event in into.iter_mut() {
            if at == end {
                break;
            }
            let [data, request, result, result2] = self.cells(at);
            *event = Event {
                data: data.load(Relaxed),
                request: request.load(Relaxed),
                result: result.load(Relaxed) as i64,
                result2: result2.load(Relaxed) as i64,
            };
            at = self.after(at);
            count += 1;
        }
        (into.get(..count).unwrap_or(&[]), at)
    }

    pub fn take_to(&self, place: u32) {
        self.head().head.store(place, Release);
    }

    /// The caller knows that there is room.
    pub fn add(&self, event: &Event) {
        let at = self.end();
        let [data, request, result, result2] = self.cells(at);
        data.store(event.data, Relaxed);
        request.store(event.request, Relaxed);
        result.store(event.result as u64, Relaxed);
        result2.store(event.result2 as u64, Relaxed);
        self.head().tail.store(self.after(at), Release);
    }

    pub fn unmap(self) {
        kernel::unmap(self.at.cast(), bytes(self.places));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: u64) -> Event {
        Event {
            data,
            request: data + 1,
            result: -(data as i64),
            result2: 7,
        }
    }

    fn ring(places: u32) -> Ring {
        let mut model = vec![0u64; bytes(places) / 8];
        // SAFETY: so much memory lies there.
        let other = unsafe { Ring::at(model.as_mut_ptr() as usize, places) };
        Ring::like(&other).unwrap()
    }

    #[test]
    fn what_goes_in_comes_out_in_order_and_around_the_end() {
        let ring = ring(5);
        let mut some = [Event::default(); 3];
        for round in 0..40 {
            (0..3).for_each(|i| ring.add(&event(round * 3 + i)));
            assert_eq!(ring.waiting(), 3);
            let (seen, behind) = ring.look(&mut some);
            assert_eq!(seen, [0, 1, 2].map(|i| event(round * 3 + i)));
            ring.take_to(behind);
            assert!(ring.is_empty());
        }
        ring.unmap();
    }

    #[test]
    fn no_more_than_fit_and_than_there_are() {
        let ring = ring(8);
        let mut two = [Event::default(); 2];
        assert!(ring.look(&mut two).0.is_empty());
        (0..5).for_each(|i| ring.add(&event(i)));
        let (seen, behind) = ring.look(&mut two);
        assert_eq!(seen, [event(0), event(1)]);
        ring.take_to(behind);
        assert_eq!(ring.waiting(), 3);
        ring.unmap();
    }

    #[test]
    fn what_a_program_writes_into_the_head_leads_nowhere_else() {
        let ring = ring(8);
        ring.take_to(u32::MAX);
        let mut all = [Event::default(); 16];
        assert!(ring.look(&mut all).0.len() < 8);
        ring.add(&event(1));
        ring.unmap();
    }
}
