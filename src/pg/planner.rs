//! What the planner may choose from while cdp's statements run.

use pgrx::pg_sys;

/// Settings of this backend's planner.
#[derive(Clone, Copy)]
pub struct Settings {
    seqscan: bool,
    nestloop: bool,
    hashjoin: bool,
    mergejoin: bool,
    jit: bool,
}

impl Settings {
    /// For cdp's own statements: their plans are kept for the life of the session, and one made while a table was
    /// still empty must not scan it when it has grown. A small table without an index is scanned all the same, at a
    /// cost that would have the plan compiled each time: so no JIT.
    pub const INDEX_LOOKUPS: Settings =
        Settings { seqscan: false, nestloop: true, hashjoin: false, mergejoin: false, jit: false };
    /// The same, joining by a hash of the smaller side.
    pub const HASHED: Settings = Settings { nestloop: false, hashjoin: true, ..Settings::INDEX_LOOKUPS };

    fn now() -> Settings {
        // SAFETY: reads plain settings of this backend.
        unsafe {
            Settings {
                seqscan: pg_sys::enable_seqscan,
                nestloop: pg_sys::enable_nestloop,
                hashjoin: pg_sys::enable_hashjoin,
                mergejoin: pg_sys::enable_mergejoin,
                jit: pg_sys::jit_enabled,
            }
        }
    }

    /// Those in force, but that nothing is compiled.
    pub fn without_jit() -> Settings {
        Settings { jit: false, ..Settings::now() }
    }

    /// Puts them in force until what is returned is dropped.
    pub fn hold(self) -> Held {
        let before = Settings::now();
        self.set();
        Held { before }
    }

    fn set(self) {
        // SAFETY: writes plain settings of this backend, which are put back when they are no longer held.
        unsafe {
            pg_sys::enable_seqscan = self.seqscan;
            pg_sys::enable_nestloop = self.nestloop;
            pg_sys::enable_hashjoin = self.hashjoin;
            pg_sys::enable_mergejoin = self.mergejoin;
            pg_sys::jit_enabled = self.jit;
        }
    }
}

/// Settings in force for a while.
pub struct Held {
    before: Settings,
}

impl Held {
    /// The session's own, for statements that users wrote.
    pub fn before(&self) -> Settings {
        self.before
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.before.set();
    }
}
