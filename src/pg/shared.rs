//! What the processes of one server share: who works for which database, and when it last did.
//!
//! There is such memory only when the library is preloaded. Everything in it is an atomic, zero is
//! its beginning, and a wake-up that meets the wrong process does no harm.

use super::notes::Notes;
pub use super::notes::Taken;
use cdp_value::Timestamp;
use pgrx::pg_sys::{self, Datum};
use std::cell::Cell;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Most databases that can have workers.
pub const PLACES: usize = 64;

const NAME: &CStr = c"cdp workers";

/// What a worker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Delivery,
    Timers,
}

impl Role {
    pub const ALL: [Role; 2] = [Role::Delivery, Role::Timers];

    pub fn name(self) -> &'static str {
        match self {
            Role::Delivery => "delivery",
            Role::Timers => "timers",
        }
    }
}

/// Why a worker ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It did not say: it was killed, terminated, or failed.
    Unknown,
    /// The database does not have the extension.
    NoExtension,
    /// Somebody wants to drop, rename or copy the database.
    SteppedAside,
    /// The extension was updated; the new version needs new plans.
    Updated,
}

/// The place of one process.
#[derive(Default)]
pub struct Seat {
    /// Address of the latch of the process; shared memory is at the same address in all of them.
    latch: AtomicUsize,
    pid: AtomicI32,
    woken: AtomicBool,
    ending: AtomicU32,
    started_at: AtomicI64,
    beat_at: AtomicI64,
    failures: AtomicU32,
}

impl Seat {
    /// Takes the seat for this process until it ends. False when another process has it.
    pub fn take(&'static self) -> bool {
        // SAFETY: reads globals of the process; the callback gets the address of shared memory.
        unsafe {
            let free = self.pid.compare_exchange(0, pg_sys::MyProcPid, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            if !free {
                return false;
            }
            self.ending.store(Ending::Unknown as u32, Ordering::SeqCst);
            self.failures.store(0, Ordering::SeqCst);
            let now = super::clock::real();
            self.started_at.store(now, Ordering::SeqCst);
            self.beat_at.store(now, Ordering::SeqCst);
            self.latch.store(pg_sys::MyLatch as usize, Ordering::SeqCst);
            pg_sys::before_shmem_exit(Some(leave), Datum::from(std::ptr::from_ref(self) as usize));
        }
        true
    }

    /// Wakes the process that has the seat, once until it looks. False when it was woken before.
    pub fn wake(&self) -> bool {
        if self.woken.swap(true, Ordering::SeqCst) {
            return false;
        }
        let latch = self.latch.load(Ordering::SeqCst) as *mut pg_sys::Latch;
        if !latch.is_null() {
            // SAFETY: the address of a latch in shared memory, which lives as long as the server.
            unsafe { pg_sys::SetLatch(latch) };
        }
        true
    }

    /// Whether it was woken; forgets it.
    pub fn take_wake(&self) -> bool {
        self.woken.swap(false, Ordering::SeqCst)
    }

    /// Says that the process is well.
    pub fn beat(&self) {
        self.beat_at.store(super::clock::real(), Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
    }

    /// Says that a cycle failed.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub fn end(&self, ending: Ending) {
        self.ending.store(ending as u32, Ordering::SeqCst);
    }

    pub fn ending(&self) -> Ending {
        let ending = self.ending.load(Ordering::SeqCst);
        [Ending::NoExtension, Ending::SteppedAside, Ending::Updated]
            .into_iter()
            .find(|e| *e as u32 == ending)
            .unwrap_or(Ending::Unknown)
    }

    /// Process id; None when nobody has the seat.
    pub fn pid(&self) -> Option<i32> {
        Some(self.pid.load(Ordering::SeqCst)).filter(|pid| *pid != 0)
    }

    /// Whether a process has the seat and went through its first cycle.
    pub fn has_begun(&self) -> bool {
        self.pid().is_some() && self.beat_at() != self.started_at.load(Ordering::SeqCst)
    }

    /// When the process was well for the last time.
    pub fn beat_at(&self) -> Timestamp {
        self.beat_at.load(Ordering::Relaxed)
    }

    /// Cycles that failed since one went well.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }
}

unsafe extern "C-unwind" fn leave(_code: i32, seat: Datum) {
    let seat = seat.value() as *const Seat;
    // SAFETY: the address given in `take`; shared memory is still attached.
    unsafe {
        (*seat).latch.store(0, Ordering::SeqCst);
        (*seat).pid.store(0, Ordering::SeqCst);
    }
}

/// The seats of one database.
#[derive(Default)]
pub struct Place {
    database: AtomicU32,
    seats: [Seat; Role::ALL.len()],
}

impl Place {
    pub fn seat(&self, role: Role) -> &Seat {
        &self.seats[role as usize]
    }

    /// Oid of the database; 0 when the place is free.
    pub fn database(&self) -> u32 {
        self.database.load(Ordering::SeqCst)
    }
}

/// How many namespaces of all databases decisions are counted for.
const COUNTERS: usize = 1_024;

/// The decisions of a namespace of a database that are not in a table yet.
#[derive(Default)]
struct Counter {
    /// Database and namespace; 0 while it is free. It is never given back: a namespace decides again.
    key: AtomicU64,
    count: AtomicU64,
}

pub struct Shared {
    pub launcher: Seat,
    places: [Place; PLACES],
    decisions: [Counter; COUNTERS],
    notes: Notes,
}

impl Shared {
    /// The place of a database, if workers were ever asked for.
    pub fn place(&self, database: u32) -> Option<usize> {
        self.places.iter().position(|place| place.database() == database)
    }

    pub fn at(&self, index: usize) -> Option<&Place> {
        self.places.get(index)
    }

    /// The place of a database, a free one if it has none. For the launcher only.
    pub fn assign(&self, database: u32) -> Option<usize> {
        self.place(database).or_else(|| {
            let free = self.place(0)?;
            self.places.get(free)?.database.store(database, Ordering::SeqCst);
            Some(free)
        })
    }

    fn counter(&self, key: u64) -> Option<&Counter> {
        // Keys differ in their low bits; the multiplication spreads them.
        let start = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % COUNTERS;
        let (first, last) = (self.decisions.get(start..)?, self.decisions.get(..start)?);
        first.iter().chain(last).find(|counter| {
            let found = counter.key.load(Ordering::Relaxed);
            found == key
                || (found == 0
                    && match counter.key.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed) {
                        Ok(_) => true,
                        Err(other) => other == key,
                    })
        })
    }

    /// Frees a place without processes. For the launcher only.
    pub fn free(&self, index: usize) {
        if let Some(place) = self.places.get(index) {
            place.database.store(0, Ordering::SeqCst);
        }
    }
}

/// Counts decisions of a namespace of this session's database. Without shared memory, and beyond the namespaces
/// there is room for, they are not counted.
pub fn count_decisions(namespace_id: i32, count: u64) {
    let Some(shared) = shared() else { return };
    if let Some(counter) = shared.counter(key(namespace_id)) {
        counter.count.fetch_add(count, Ordering::Relaxed);
    }
}

/// The decisions that were counted in this session's database, by namespace. They are not counted any more.
pub fn take_decisions() -> Vec<(i32, u64)> {
    let Some(shared) = shared() else { return Vec::new() };
    let database = key(0) >> 32;
    let own = shared.decisions.iter().filter(|counter| counter.key.load(Ordering::Relaxed) >> 32 == database);
    own.filter_map(|counter| {
        let namespace_id = counter.key.load(Ordering::Relaxed) as u32 as i32;
        let count = counter.count.swap(0, Ordering::Relaxed);
        (count > 0).then_some((namespace_id, count))
    })
    .collect()
}

/// Leaves a note about a namespace of this session's database for its worker. False when nobody would come for it,
/// or there is no room.
pub fn leave_note(namespace_id: i32, note: &[u8]) -> bool {
    let has_worker = own_place().is_some_and(|place| place.seat(Role::Timers).pid().is_some());
    has_worker && shared().is_some_and(|shared| shared.notes.leave(key(namespace_id), note))
}

/// Takes the notes that sessions of this database left, at most `limit`.
pub fn take_notes(limit: usize) -> Vec<Taken> {
    shared().map_or_else(Vec::new, |shared| shared.notes.take(key(0) >> 32, limit))
}

fn key(namespace_id: i32) -> u64 {
    // SAFETY: reads a global of the process.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    (u64::from(database) << 32) | u64::from(namespace_id as u32)
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// The shared memory; None when the library is not preloaded.
pub fn shared() -> Option<&'static Shared> {
    // SAFETY: null, or the address of initialised shared memory, which is never unmapped.
    unsafe { SHARED.load(Ordering::Relaxed).as_ref() }
}

thread_local! {
    static OWN_PLACE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The place of this session's database.
pub fn own_place() -> Option<&'static Place> {
    let shared = shared()?;
    // SAFETY: reads a global of the process.
    let database = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let known = OWN_PLACE.get().and_then(|index| shared.at(index)).filter(|place| place.database() == database);
    known.or_else(|| {
        let index = shared.place(database)?;
        OWN_PLACE.set(Some(index));
        shared.at(index)
    })
}

// SAFETY: a type; whoever calls through it says why that is sound.
type Hook = Option<unsafe extern "C-unwind" fn()>;
static mut PREVIOUS_REQUEST: Hook = None;
static mut PREVIOUS_STARTUP: Hook = None;

/// Asks for the memory; called once, when the postmaster loads the library.
pub fn register() {
    // SAFETY: the postmaster runs one thread and calls this before it starts anything.
    unsafe {
        PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request);
        PREVIOUS_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn request() {
    // SAFETY: called by Postgres as a hook; so is the hook before this one.
    unsafe {
        if let Some(previous) = PREVIOUS_REQUEST {
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous());
        }
        pg_sys::RequestAddinShmemSpace(std::mem::size_of::<Shared>());
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn startup() {
    // SAFETY: called by Postgres as a hook, after a crash too, when the memory is new again. The memory
    // is large enough and aligned for any type.
    unsafe {
        if let Some(previous) = PREVIOUS_STARTUP {
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous());
        }
        let mut found = false;
        let memory = pg_sys::ShmemInitStruct(NAME.as_ptr(), std::mem::size_of::<Shared>(), &mut found).cast::<Shared>();
        if !found {
            memory.write(Shared {
                launcher: Seat::default(),
                places: std::array::from_fn(|_| Place::default()),
                decisions: std::array::from_fn(|_| Counter::default()),
                notes: Notes::default(),
            });
        }
        SHARED.store(memory, Ordering::Relaxed);
    }
}
