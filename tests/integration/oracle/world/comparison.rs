//! What must agree: all that the engine says and stores with the oracle, and its history with itself.

use std::fmt::Write as _;

use super::World;
use crate::oracle::corpus::Corpus;
use crate::oracle::message::{iso, quoted};

impl World<'_> {
    /// What all definitions give for all people, by the oracle: rows (profile_id, key, is_segment, value).
    pub(super) fn expected(&self) -> String {
        let values: Vec<String> = self
            .definitions
            .iter()
            .map(|(key, definition)| {
                let value = if definition.is_segment {
                    format!("to_jsonb({})", definition.node.holds(&self.definitions))
                } else {
                    definition.node.sql(&self.definitions)
                };
                format!("('{key}', {}, {value})", definition.is_segment)
            })
            .collect();
        format!(
            "{} SELECT p.profile_id, d.key, d.is_segment, d.value \
             FROM people AS p CROSS JOIN LATERAL (VALUES {}) AS d (key, is_segment, value)",
            known(),
            values.join(", ")
        )
    }

    pub(super) fn execute(&mut self, sql: &str, at: i64) -> Vec<Vec<Option<String>>> {
        self.must("DEALLOCATE ALL");
        self.must(&format!(
            "PREPARE question (timestamptz, text, text) AS {sql}"
        ));
        let (timezone, namespace) = (self.timezone, self.namespace);
        self.must(&format!(
            "EXECUTE question ('{}', '{timezone}', '{namespace}')",
            iso(at)
        ))
    }

    /// Compares every trait and segment of everybody, as `cdp.user_traits` and `cdp.user_segments` tell them now.
    pub(super) fn compare(&mut self) {
        if self.definitions.is_empty() {
            return;
        }
        self.seen.comparisons += 1;
        let sql = format!(
            "WITH expected AS MATERIALIZED ({}), actual AS MATERIALIZED ( \
                 SELECT profile_id, key, false AS is_segment, value FROM cdp.user_traits WHERE namespace = $3 UNION ALL \
                 SELECT profile_id, key, true, 'true'::jsonb FROM cdp.user_segments WHERE namespace = $3) \
             SELECT coalesce(e.profile_id, a.profile_id), coalesce(e.key, a.key), e.value, a.value \
             FROM (SELECT * FROM expected WHERE CASE WHEN is_segment THEN value = 'true' ELSE value IS NOT NULL END) AS e \
             FULL JOIN actual AS a ON a.profile_id = e.profile_id AND a.key = e.key AND a.is_segment = e.is_segment \
             WHERE e.value IS DISTINCT FROM a.value ORDER BY 2, 1",
            self.expected()
        );
        let wrong = self.execute(&sql, self.clock);
        self.must_be_none(wrong, "values");
        if self.random.percent(8) {
            let sql = format!(
                "SELECT profile_id, key, value, CASE WHEN is_segment THEN to_jsonb(cdp.in_segment(profile_id::text, key, $3)) \
                     ELSE cdp.trait(profile_id::text, key, $3) END \
                 FROM ({}) AS e WHERE value IS DISTINCT FROM CASE WHEN is_segment THEN to_jsonb(cdp.in_segment(profile_id::text, key, $3)) \
                     ELSE cdp.trait(profile_id::text, key, $3) END",
                self.expected()
            );
            let wrong = self.execute(&sql, self.clock);
            self.must_be_none(wrong, "single values");
        }
        if self.random.percent(12) {
            let sql = format!(
                "WITH expected AS MATERIALIZED ({}), \
                 asked AS MATERIALIZED (SELECT DISTINCT key, is_segment FROM expected), \
                 compiled AS MATERIALIZED (SELECT a.key, a.is_segment, v.profile_id, v.value FROM asked AS a CROSS JOIN LATERAL _cdp.compiled_values( \
                     format('%s(\"%s\")', CASE WHEN a.is_segment THEN 'segment' ELSE 'trait' END, a.key), $3) AS v) \
                 SELECT c.profile_id, c.key, e.value, c.value FROM expected AS e \
                 JOIN compiled AS c ON c.profile_id = e.profile_id AND c.key = e.key AND c.is_segment = e.is_segment \
                 WHERE e.value IS DISTINCT FROM c.value ORDER BY 2, 1",
                self.expected()
            );
            let wrong = self.execute(&sql, self.clock);
            self.must_be_none(wrong, "compiled values");
        }
    }

    #[track_caller]
    fn must_be_none(&mut self, wrong: Vec<Vec<Option<String>>>, what: &str) {
        if wrong.is_empty() {
            return;
        }
        let mut text = format!(
            "{what} at {}: profile, key, oracle, engine\n",
            iso(self.clock)
        );
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".into());
        for row in wrong.iter().take(10) {
            let cells: Vec<String> = row.iter().map(show).collect();
            let _ = writeln!(text, "  {}", cells.join(" | "));
        }
        if let Some(Some(profile)) = wrong.first().and_then(|row| row.first().cloned()) {
            let details = self.must(&format!(
                "SELECT 'profile', to_jsonb(p) - 'state' - 'computed' FROM _cdp.profiles AS p WHERE {profile} IN (profile_id, merged_into) UNION ALL \
                 SELECT 'pending', to_jsonb(f) FROM _cdp.pending_folds AS f WHERE profile_id = {profile} UNION ALL \
                 SELECT 'timer', to_jsonb(t) FROM _cdp.timers AS t WHERE profile_id = {profile} UNION ALL \
                 SELECT 'sweep', to_jsonb(s) FROM _cdp.sweeps AS s UNION ALL \
                 SELECT 'history', to_jsonb(h) FROM (SELECT * FROM _cdp.history WHERE profile_id = {profile} AND what <> 'profile' ORDER BY history_id DESC LIMIT 8) AS h UNION ALL \
                 SELECT 'event', to_jsonb(e) - 'namespace' - 'profile_id' FROM (SELECT * FROM oracle.events WHERE profile_id = {profile} ORDER BY at) AS e"
            ));
            for row in details {
                let _ = writeln!(text, "  {} {}", show(&row[0]), show(&row[1]));
            }
        }
        self.fail(&text);
    }

    /// Compares what is stored of segments, without any reading that folds time in.
    pub(super) fn compare_stored(&mut self) {
        let left = self.must(&format!(
            "SELECT 'timer', profile_id::text, due::text FROM _cdp.timers WHERE due <= '{}' UNION ALL \
             SELECT 'pending', profile_id::text, '' FROM _cdp.pending_folds",
            iso(self.clock)
        ));
        if !left.is_empty() {
            self.fail(&format!("something due was left: {left:?}"));
        }
        if self.definitions.is_empty() {
            return;
        }
        let sql = format!(
            "WITH expected AS MATERIALIZED ({}), actual AS MATERIALIZED ( \
                 SELECT m.profile_id, s.key FROM _cdp.segment_members AS m JOIN _cdp.segments AS s USING (segment_id)) \
             SELECT coalesce(e.profile_id, a.profile_id), coalesce(e.key, a.key), (e.key IS NOT NULL)::text, (a.key IS NOT NULL)::text \
             FROM (SELECT * FROM expected WHERE is_segment AND value = 'true') AS e FULL JOIN actual AS a ON a.profile_id = e.profile_id AND a.key = e.key \
             WHERE e.key IS NULL OR a.key IS NULL ORDER BY 2, 1",
            self.expected()
        );
        let wrong = self.execute(&sql, self.clock);
        self.must_be_none(wrong, "stored memberships");
        self.compare_history();
    }

    /// Entering and leaving alternate, and the last of them agrees with the membership.
    fn compare_history(&mut self) {
        // With a clock that is behind, somebody may be seen to leave before having entered.
        let forward = if self.is_skewed {
            "false"
        } else {
            "c.at < c.at_before"
        };
        let wrong = self.must(&format!(
            "WITH changes AS ( \
                 SELECT h.profile_id, h.key, h.at, h.new = 'true' AS entered, \
                     lag(h.new = 'true') OVER w AS before, lag(h.at) OVER w AS at_before, lead(h.at) OVER w IS NULL AS is_last \
                 FROM _cdp.history AS h WHERE h.what = 'segment' \
                 WINDOW w AS (PARTITION BY h.profile_id, h.key ORDER BY h.history_id) \
             ), whole AS (SELECT p.profile_id FROM _cdp.profiles AS p WHERE p.merged_into IS NULL AND p.absorbed IS NULL) \
             SELECT c.profile_id, c.key, c.at::text, concat_ws(' ', 'entered', c.entered, 'after', c.before, m.since) \
             FROM changes AS c JOIN whole USING (profile_id) \
             JOIN _cdp.segments AS s ON s.key = c.key \
             LEFT JOIN _cdp.segment_members AS m ON m.profile_id = c.profile_id AND m.segment_id = s.segment_id \
             WHERE c.entered = coalesce(c.before, false) OR {forward} \
                OR (c.is_last AND (c.entered <> (m.since IS NOT NULL) OR (c.entered AND m.since <> c.at)))",
        ));
        self.must_be_none(wrong, "history");
    }

    /// Asks for an expression that nobody defined.
    pub(super) fn ask(&mut self) {
        let keys = self.keys.clone();
        let mut corpus = Corpus {
            random: &mut self.random,
            definitions: &self.definitions,
            keys: &keys,
        };
        let (value, rule) = (corpus.any(), corpus.rule());
        let text = quoted(&value.text(&self.definitions));
        let sql = format!(
            "{} SELECT p.profile_id, {text}, v.expected, v.actual FROM people AS p, \
             LATERAL (SELECT {} AS expected, cdp.evaluate(p.profile_id::text, {text}, $3) AS actual) AS v \
             WHERE v.expected IS DISTINCT FROM v.actual",
            known(),
            value.sql(&self.definitions)
        );
        let wrong = self.execute(&sql, self.clock);
        self.must_be_none(wrong, "evaluate");
        let text = quoted(&rule.text(&self.definitions));
        let sql = format!(
            "{} SELECT min(p.profile_id), {text}, count(*) FILTER (WHERE {})::text, (cdp.preview({text}, $3)).members::text FROM people AS p",
            known(),
            rule.holds(&self.definitions)
        );
        let rows = self.execute(&sql, self.clock);
        if rows.iter().any(|row| row[0].is_some() && row[2] != row[3]) {
            self.must_be_none(rows, "preview");
        }
    }

    /// What people are. Values that tick with time have no time of their last change.
    pub(super) fn stored_state(&mut self, id: &str) -> Vec<Vec<Option<String>>> {
        let ticking: Vec<String> = self
            .definitions
            .iter()
            .filter(|(_, definition)| definition.node.ticks(&self.definitions))
            .map(|(key, _)| quoted(key))
            .collect();
        let sql = format!(
            "SELECT p.profile_id, p.first_seen, p.last_seen, p.event_count, \
                 (SELECT array_agg((t.key, t.value, CASE WHEN t.key <> ALL (ARRAY[{}]::text[]) THEN t.updated_at END)) \
                  FROM _cdp.traits_of(p.profile_id, '{}') AS t), \
                 (SELECT array_agg((m.segment_id, m.since) ORDER BY m.segment_id) FROM _cdp.segment_members AS m WHERE m.profile_id = p.profile_id) \
             FROM _cdp.profiles AS p WHERE p.merged_into IS NULL AND ({id}::text IS NULL OR p.profile_id::text = {id}) ORDER BY 1",
            ticking.join(", "),
            self.namespace
        );
        self.must(&sql)
    }
}

/// What the oracle knows of the namespace `$3`.
fn known() -> String {
    "WITH events AS MATERIALIZED (SELECT profile_id, event, at, properties FROM oracle.events WHERE namespace = $3), \
     profiles AS MATERIALIZED (SELECT profile_id, path, value FROM oracle.profiles WHERE namespace = $3), \
     groups AS MATERIALIZED (SELECT profile_id, path, value FROM oracle.groups WHERE namespace = $3), \
     people AS MATERIALIZED (SELECT profile_id FROM cdp.people WHERE namespace = $3)"
        .to_string()
}
