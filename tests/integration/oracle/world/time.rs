//! Time: the clocks of the connections, the instants at which something happens, and what time alone changes.

use std::collections::BTreeSet;

use super::World;
use crate::oracle::corpus::windows;
use crate::oracle::message::iso;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

impl World<'_> {
    pub(super) fn set_clock(&mut self) {
        let set = format!("SET cdp.clock = '{}'", iso(self.clock));
        self.note(set.clone());
        self.must(&set);
        // A transaction that began earlier may have an earlier clock.
        if !self.second_is_open || !self.is_skewed || self.random.percent(50) {
            self.run(true, &set);
        }
    }

    /// An instant to which time may move.
    pub(super) fn later(&mut self) -> i64 {
        let step = match self.random.below(10) {
            0..=2 => self.random.below(MINUTE as u64) as i64,
            3..=5 => self.random.below(6 * HOUR as u64) as i64,
            6 => self.random.below(3 * DAY as u64) as i64,
            _ => return self.edge(),
        };
        self.clock + 1 + step
    }

    /// The next instant at which something leaves a window, or just before or after.
    fn edge(&mut self) -> i64 {
        let since = *self.random.pick(&self.instants);
        let window = self.random.pick(windows()).minutes() * MINUTE;
        let beside = [-1, 0, 0, 1][self.random.index(4)];
        let at = since + window + beside;
        if at > self.clock && at < self.clock + 20 * DAY {
            at
        } else {
            self.clock + 1 + self.random.below(DAY as u64) as i64
        }
    }

    /// When an event happened: now, late, at an edge of a window, together with another one, in the future.
    pub(super) fn event_time(&mut self) -> Option<i64> {
        let at = match self.random.below(100) {
            0..=39 => None,
            40..=69 => Some(self.clock - self.random.magnitude(40 * DAY as u64) as i64),
            70..=79 => {
                let window = self.random.pick(windows()).minutes() * MINUTE;
                Some(self.clock - window + [-1, 0, 1][self.random.index(3)])
            }
            80..=89 => Some(*self.random.pick(&self.instants)),
            90..=94 => {
                // The last microsecond of a day of the zone's, or the first of the next.
                let day = self.clock.div_euclid(DAY) - self.random.below(5) as i64;
                let offset = [0, 1, -1, -2, -5, 4][self.random.index(6)] * HOUR;
                Some(day * DAY + offset - self.random.below(2) as i64)
            }
            95..=97 => Some(self.clock + self.random.below(DAY as u64) as i64),
            _ => Some(self.clock - 200 * DAY),
        };
        self.instants.push(at.unwrap_or(self.clock).min(self.clock));
        if self.instants.len() > 200 {
            let gone = self.random.index(100);
            self.instants.swap_remove(gone);
        }
        at
    }

    /// A time in the past that no identify or group call had.
    pub(super) fn own_time(&mut self) -> Option<i64> {
        loop {
            let at = self.clock - self.random.magnitude(20 * DAY as u64) as i64;
            if self.used.insert(at) {
                return Some(at);
            }
        }
    }

    /// Time passes while nothing happens: every change is noted at the instant at which the oracle sees it, and
    /// none is missed.
    pub(super) fn travel(&mut self) {
        self.settle();
        let before = self.clock;
        let mut members = self.members();
        let last = self.number("SELECT max(history_id) FROM _cdp.history");
        self.clock = self.later();
        self.set_clock();
        if self.random.percent(50) {
            self.compare();
        }
        self.settle();
        if self.definitions.is_empty() {
            return;
        }
        let changes = self.must(&format!(
            "SELECT (extract(epoch FROM at) * 1000000)::bigint, profile_id, key, new FROM _cdp.history \
             WHERE what = 'segment' AND history_id > {last} ORDER BY at, history_id"
        ));
        self.seen.changes += changes.len();
        let changes: Vec<(i64, String, String, bool)> = changes
            .into_iter()
            .map(|row| {
                let mut cells = row.into_iter().map(Option::unwrap_or_default);
                let mut next = || cells.next().unwrap_or_default();
                (
                    next().parse().unwrap_or(0),
                    next(),
                    next(),
                    next() == "true",
                )
            })
            .collect();
        let mut instants: BTreeSet<i64> = BTreeSet::new();
        for _ in 0..2 {
            instants.insert(before + self.random.below((self.clock - before) as u64) as i64);
        }
        if !changes.is_empty() {
            let at = self.random.pick(&changes).0;
            instants.extend([at - 1, at]);
        }
        let sql = format!(
            "SELECT profile_id, key FROM ({}) AS e WHERE is_segment AND value = 'true'",
            self.expected()
        );
        let mut changes = changes.into_iter().peekable();
        for at in instants.into_iter().filter(|at| *at >= before) {
            while let Some((_, profile, key, entered)) = changes.next_if(|change| change.0 <= at) {
                let member = (profile, key);
                if entered {
                    members.insert(member);
                } else {
                    members.remove(&member);
                }
            }
            let expected: BTreeSet<(String, String)> = self
                .execute(&sql, at)
                .into_iter()
                .map(|row| {
                    (
                        row[0].clone().unwrap_or_default(),
                        row[1].clone().unwrap_or_default(),
                    )
                })
                .collect();
            if expected != members {
                let missing: Vec<_> = expected.difference(&members).collect();
                let surplus: Vec<_> = members.difference(&expected).collect();
                let text = format!(
                    "between {} and {} the history is not what happened: at {} (profile, segment) should be members: {missing:?}, should not: {surplus:?}",
                    iso(before), iso(self.clock), iso(at)
                );
                self.fail(&text);
            }
        }
    }

    fn members(&mut self) -> BTreeSet<(String, String)> {
        self.must("SELECT m.profile_id, s.key FROM _cdp.segment_members AS m JOIN _cdp.segments AS s USING (segment_id)")
            .into_iter()
            .map(|row| (row[0].clone().unwrap_or_default(), row[1].clone().unwrap_or_default()))
            .collect()
    }
}
