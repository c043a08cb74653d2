//! Notes that sessions which may not write leave in shared memory, for a worker to act upon soon after.
//!
//! A note is a few bytes for a namespace of a database. Notes do not survive the end of the server; a note for which
//! there is no room is refused, and whoever leaves it is told.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Most notes of all databases together.
const PLACES: usize = 1_024;
/// Longest note.
const BYTES: usize = 488;

const FREE: u32 = 0;
/// A session writes it, or a worker reads it.
const HELD: u32 = 1;
const THERE: u32 = 2;

struct Place {
    state: AtomicU32,
    length: AtomicU32,
    /// Database and namespace.
    key: AtomicU64,
    bytes: UnsafeCell<[u8; BYTES]>,
}

// SAFETY: the bytes are touched only by the process that moved the state to HELD, until it moves it on.
unsafe impl Sync for Place {}

/// All notes; zero is the beginning of each.
pub struct Notes {
    next: AtomicUsize,
    places: [Place; PLACES],
}

impl Default for Notes {
    fn default() -> Notes {
        let place = |_| Place {
            state: AtomicU32::new(FREE),
            length: AtomicU32::new(0),
            key: AtomicU64::new(0),
            bytes: UnsafeCell::new([0; BYTES]),
        };
        Notes { next: AtomicUsize::new(0), places: std::array::from_fn(place) }
    }
}

/// A note that was taken. Dropped without [`Taken::done`], it is there again.
pub struct Taken {
    place: &'static Place,
    pub namespace_id: i32,
    pub bytes: Vec<u8>,
    is_done: bool,
}

impl Taken {
    pub fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.place.state.store(if self.is_done { FREE } else { THERE }, Ordering::Release);
    }
}

impl Notes {
    /// Leaves a note; false when it is too long or there is no room.
    pub fn leave(&self, key: u64, note: &[u8]) -> bool {
        if note.len() > BYTES {
            return false;
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed) % PLACES;
        let places = self.places.iter().cycle().skip(start).take(PLACES);
        let free = places
            .into_iter()
            .find(|place| place.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok());
        let Some(place) = free else { return false };
        // SAFETY: the place is held by this process; the note fits.
        unsafe { std::ptr::copy_nonoverlapping(note.as_ptr(), place.bytes.get().cast::<u8>(), note.len()) };
        place.length.store(note.len() as u32, Ordering::Relaxed);
        place.key.store(key, Ordering::Relaxed);
        place.state.store(THERE, Ordering::Release);
        true
    }

    /// Takes notes of a database, at most `limit`.
    pub fn take(&'static self, database: u64, limit: usize) -> Vec<Taken> {
        let mine = |place: &&'static Place| {
            place.state.load(Ordering::Acquire) == THERE
                && place.key.load(Ordering::Relaxed) >> 32 == database
                && place.state.compare_exchange(THERE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let read = |place: &'static Place| {
            let length = (place.length.load(Ordering::Relaxed) as usize).min(BYTES);
            // SAFETY: the place is held by this process, and its first bytes were written.
            let bytes = unsafe { std::slice::from_raw_parts(place.bytes.get().cast::<u8>(), length) }.to_vec();
            Taken { place, namespace_id: place.key.load(Ordering::Relaxed) as u32 as i32, bytes, is_done: false }
        };
        self.places.iter().filter(mine).map(read).take(limit).collect()
    }
}
