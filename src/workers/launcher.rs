//! The launcher: keeps the workers of each database in `cdp.databases` running.
//!
//! It is connected to no database. A worker that finds no extension in its database ends quietly and is
//! tried again now and then; one that fails is started again after a growing delay. Each change is
//! logged once.

use crate::guc;
use crate::pg::shared::{Ending, Role, Shared, PLACES};
use crate::pg::worker::{self, Child};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often a database without the extension, or a missing database, is looked at.
const RECHECK: Duration = Duration::from_secs(10);
/// How often workers are looked at while they start.
const SETTLING: Duration = Duration::from_millis(200);
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// A worker that ran for so long was well: its next failure is a first one.
const HEALTHY: Duration = Duration::from_secs(60);

/// One worker of one database.
struct Worker {
    child: Option<Child>,
    started: Instant,
    delay: Duration,
    start_at: Instant,
}

impl Worker {
    fn new() -> Worker {
        let now = Instant::now();
        Worker { child: None, started: now, delay: FIRST_DELAY, start_at: now }
    }
}

/// What was last said about a database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Running,
    Missing,
    NoExtension,
    SteppedAside,
    NoRoom,
    Failing,
}

struct Database {
    name: String,
    oid: Option<u32>,
    place: Option<usize>,
    look_at: Instant,
    workers: [Worker; Role::ALL.len()],
    said: Said,
}

impl Database {
    fn new(name: String) -> Database {
        Database {
            name,
            oid: None,
            place: None,
            look_at: Instant::now(),
            workers: [Worker::new(), Worker::new()],
            said: Said::Nothing,
        }
    }

    fn say(&mut self, said: Said) {
        if self.said == said {
            return;
        }
        let name = &self.name;
        match said {
            Said::Nothing => {}
            Said::Running => pgrx::log!("cdp: workers of database \"{name}\" run"),
            Said::Missing => pgrx::warning!("cdp: database \"{name}\" of cdp.databases does not exist or takes no connections"),
            Said::NoExtension => {
                pgrx::log!("cdp: database \"{name}\" does not have the extension; its workers start when it does");
            }
            Said::SteppedAside => pgrx::log!("cdp: workers of database \"{name}\" ended for a command that needs it empty"),
            Said::NoRoom => pgrx::warning!(
                "cdp: no room for the workers of database \"{name}\": raise max_worker_processes (each database takes two)"
            ),
            Said::Failing => pgrx::warning!("cdp: a worker of database \"{name}\" ended; it is started again"),
        }
        self.said = said;
    }

    fn stop(&mut self) {
        for worker in &mut self.workers {
            if let Some(child) = worker.child.take() {
                child.terminate();
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.workers.iter().all(|worker| worker.child.is_none())
    }

    /// Takes note of workers that ended.
    fn reap(&mut self, shared: &Shared) {
        for role in Role::ALL {
            let worker = &mut self.workers[role as usize];
            if !worker.child.as_ref().is_some_and(Child::has_ended) {
                continue;
            }
            worker.child = None;
            let now = Instant::now();
            let place = self.place.and_then(|place| shared.at(place));
            match place.map_or(Ending::Unknown, |place| place.seat(role).ending()) {
                Ending::NoExtension => {
                    self.look_at = now + RECHECK;
                    self.say(Said::NoExtension);
                }
                Ending::SteppedAside => {
                    self.look_at = now + RECHECK;
                    self.say(Said::SteppedAside);
                }
                Ending::Updated => worker.start_at = now,
                Ending::Unknown => {
                    if now.duration_since(worker.started) >= HEALTHY {
                        worker.delay = FIRST_DELAY;
                    }
                    worker.start_at = now + worker.delay;
                    worker.delay = (worker.delay * 2).min(LONGEST_DELAY);
                    self.say(Said::Failing);
                }
            }
        }
    }

    /// Starts what should run and does not. Tells in how long it wants to be looked at again.
    fn keep(&mut self, shared: &Shared) -> Duration {
        let now = Instant::now();
        if now < self.look_at {
            return self.look_at - now;
        }
        if self.is_empty() {
            // The name may mean another database by now, or none.
            match worker::databases() {
                Ok(databases) if databases.get(&self.name) == self.oid.as_ref() => {}
                Ok(databases) => {
                    if let Some(place) = self.place.take() {
                        shared.free(place);
                    }
                    self.oid = databases.get(&self.name).copied();
                    self.workers = [Worker::new(), Worker::new()];
                }
                Err(error) => pgrx::warning!("cdp: pg_database cannot be read: {}", error.message),
            }
            let Some(oid) = self.oid else {
                self.look_at = now + RECHECK;
                self.say(Said::Missing);
                return RECHECK;
            };
            self.place = shared.assign(oid);
        }
        let Some(place) = self.place else {
            self.look_at = now + RECHECK;
            self.say(Said::NoRoom);
            return RECHECK;
        };
        let mut next = RECHECK;
        for role in Role::ALL {
            if self.workers[role as usize].child.is_some() {
                continue;
            }
            let begun = |role: Role| shared.at(place).is_some_and(|place| place.seat(role).has_begun());
            if role == Role::Timers && !begun(Role::Delivery) {
                // One process is enough to find out that there is no extension.
                next = next.min(SETTLING);
                continue;
            }
            let start_at = self.workers[role as usize].start_at;
            if now < start_at {
                next = next.min(start_at - now);
                continue;
            }
            match worker::start(role, place, &self.name) {
                Some(child) => {
                    let worker = &mut self.workers[role as usize];
                    worker.child = Some(child);
                    worker.started = now;
                }
                None => {
                    self.look_at = now + RECHECK;
                    self.say(Said::NoRoom);
                    return RECHECK;
                }
            }
        }
        if Role::ALL.into_iter().all(|role| shared.at(place).is_some_and(|place| place.seat(role).has_begun())) {
            self.say(Said::Running);
        } else {
            next = next.min(SETTLING);
        }
        next
    }
}

/// Runs until the server stops.
pub fn run(shared: &'static Shared) {
    let mut databases: BTreeMap<String, Database> = BTreeMap::new();
    read_list(&mut databases);
    loop {
        let mut next = RECHECK;
        for database in databases.values_mut() {
            database.reap(shared);
            next = next.min(database.keep(shared));
        }
        worker::wait(next.max(Duration::from_millis(10)));
        if worker::reload() {
            read_list(&mut databases);
        }
        if shared.launcher.take_wake() {
            // Somebody made the extension, or has work for a worker that is not there.
            for database in databases.values_mut() {
                database.look_at = Instant::now();
            }
        }
    }
}

fn read_list(databases: &mut BTreeMap<String, Database>) {
    let mut wanted = guc::databases();
    wanted.truncate(PLACES);
    databases.retain(|name, database| {
        let keep = wanted.contains(name);
        if !keep {
            database.stop();
            pgrx::log!("cdp: database \"{name}\" is no longer in cdp.databases; its workers end");
        }
        keep
    });
    for name in wanted {
        databases.entry(name.clone()).or_insert_with(|| Database::new(name));
    }
}
