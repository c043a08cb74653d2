//! What somebody agreed to, from all that was said and when profiles became one.

use cdp_value::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// What was said about a category, and by which profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The later of two at one instant has the larger id.
    pub id: i64,
    pub at: Timestamp,
    pub profile_id: i64,
    pub category: String,
    pub granted: bool,
}

/// Two profiles turned out to be one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    pub at: Timestamp,
    pub absorbed_id: i64,
    pub survivor_id: i64,
}

/// Where somebody stands on a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub granted: bool,
    /// When it was said.
    pub since: Timestamp,
    /// The statement that decides.
    pub statement: i64,
}

/// Verdicts by category. What nobody spoke of is missing.
pub type Standing = BTreeMap<String, Verdict>;

/// Where the person of profile `root` stands at `until`: the last statement counts, and when two profiles become
/// one a no of either counts until something is said about the person they became. The order of the arguments'
/// elements does not matter.
pub fn standing(
    root: i64,
    statements: &[Statement],
    merges: &[Merge],
    until: Timestamp,
) -> Standing {
    enum Step<'a> {
        Merge(&'a Merge),
        Statement(&'a Statement),
    }
    let mut steps: Vec<(Timestamp, bool, i64, Step)> =
        Vec::with_capacity(statements.len() + merges.len());
    // At one instant profiles merge first: what is said then is said about the person they became.
    steps.extend(
        merges
            .iter()
            .map(|merge| (merge.at, false, merge.absorbed_id, Step::Merge(merge))),
    );
    steps.extend(
        statements
            .iter()
            .map(|said| (said.at, true, said.id, Step::Statement(said))),
    );
    steps.retain(|(at, ..)| *at <= until);
    steps.sort_by_key(|(at, is_statement, id, _)| (*at, *is_statement, *id));

    let mut owners: HashMap<i64, i64> = HashMap::new();
    let mut standings: HashMap<i64, Standing> = HashMap::new();
    for (.., step) in steps {
        match step {
            Step::Statement(said) => {
                let verdict = Verdict {
                    granted: said.granted,
                    since: said.at,
                    statement: said.id,
                };
                let owner = owner(&owners, said.profile_id);
                standings
                    .entry(owner)
                    .or_default()
                    .insert(said.category.clone(), verdict);
            }
            Step::Merge(merge) => {
                let (absorbed, survivor) = (
                    owner(&owners, merge.absorbed_id),
                    owner(&owners, merge.survivor_id),
                );
                if absorbed != survivor {
                    owners.insert(absorbed, survivor);
                    let other = standings.remove(&absorbed).unwrap_or_default();
                    restrict(standings.entry(survivor).or_default(), other);
                }
            }
        }
    }
    // A merge after `until` makes the profiles' statements the person's all the same: whoever asks about an
    // instant before it asks about everything the person is now.
    let mut result = Standing::new();
    let mut rest: Vec<(i64, Standing)> = standings.into_iter().collect();
    rest.sort_by_key(|(profile_id, _)| *profile_id != root);
    for (_, standing) in rest {
        restrict(&mut result, standing);
    }
    result
}

fn owner(owners: &HashMap<i64, i64>, profile_id: i64) -> i64 {
    let mut owner = profile_id;
    // Each step goes to a profile that was alive later, so this ends; the bound is for damaged tables.
    for _ in 0..=owners.len() {
        match owners.get(&owner) {
            Some(next) => owner = *next,
            None => break,
        }
    }
    owner
}

/// A no of either stays a no; of two that agree the later one is kept.
fn restrict(standing: &mut Standing, other: Standing) {
    for (category, verdict) in other {
        standing
            .entry(category)
            .and_modify(|mine| {
                let is_stronger = (!verdict.granted, verdict.since, verdict.statement)
                    > (!mine.granted, mine.since, mine.statement);
                if is_stronger {
                    *mine = verdict;
                }
            })
            .or_insert(verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(id: i64, at: Timestamp, profile_id: i64, granted: bool) -> Statement {
        Statement {
            id,
            at,
            profile_id,
            category: "ads".to_string(),
            granted,
        }
    }

    fn granted(root: i64, statements: &[Statement], merges: &[Merge]) -> Option<bool> {
        standing(root, statements, merges, Timestamp::MAX)
            .get("ads")
            .map(|verdict| verdict.granted)
    }

    const MERGE: Merge = Merge {
        at: 10,
        absorbed_id: 2,
        survivor_id: 1,
    };

    #[test]
    fn the_last_statement_counts_whenever_it_arrives() {
        assert_eq!(
            granted(1, &[said(1, 1, 1, true), said(2, 2, 1, false)], &[]),
            Some(false)
        );
        assert_eq!(
            granted(1, &[said(2, 2, 1, false), said(1, 1, 1, true)], &[]),
            Some(false)
        );
        assert_eq!(
            granted(1, &[said(1, 1, 1, false), said(2, 1, 1, true)], &[]),
            Some(true),
            "at one instant"
        );
        assert_eq!(granted(1, &[], &[]), None);
    }

    #[test]
    fn a_merge_keeps_the_no_until_the_person_says_yes() {
        let before = [said(1, 5, 2, false), said(2, 9, 1, true)];
        assert_eq!(
            granted(1, &before, &[MERGE]),
            Some(false),
            "though the yes is later"
        );
        let after = [before[0].clone(), before[1].clone(), said(3, 10, 1, true)];
        assert_eq!(
            granted(1, &after, &[MERGE]),
            Some(true),
            "said with the merge or after it"
        );
        assert_eq!(
            granted(1, &[said(1, 5, 2, true)], &[MERGE]),
            Some(true),
            "silence of the other is no no"
        );
    }

    #[test]
    fn what_is_said_under_an_absorbed_profile_counts_for_the_person() {
        let statements = [said(1, 5, 1, false), said(2, 20, 2, true)];
        assert_eq!(granted(1, &statements, &[MERGE]), Some(true));
        let chain = [
            MERGE,
            Merge {
                at: 15,
                absorbed_id: 1,
                survivor_id: 3,
            },
        ];
        assert_eq!(granted(3, &statements, &chain), Some(true));
        assert_eq!(
            granted(3, &[said(1, 12, 2, false), said(2, 14, 3, true)], &chain),
            Some(false)
        );
    }

    #[test]
    fn an_instant_in_the_past() {
        let statements = [said(1, 5, 2, false), said(2, 20, 1, true)];
        let at = |until| {
            standing(1, &statements, &[MERGE], until)
                .get("ads")
                .map(|verdict| verdict.granted)
        };
        assert_eq!(at(4), None);
        assert_eq!(at(7), Some(false));
        assert_eq!(at(20), Some(true));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        /// Order of arrival is irrelevant, and leaving out what changes nothing at its time changes nothing.
        #[test]
        fn order_and_repetitions_do_not_matter(
            raw in proptest::collection::vec((0i64..30, 1i64..5, any::<bool>()), 0..20),
            merges in proptest::collection::vec(0i64..30, 0..3),
            seed in any::<u64>(),
        ) {
            let statements: Vec<Statement> =
                raw.iter().enumerate().map(|(id, (at, profile, granted))| said(id as i64, *at, *profile, *granted)).collect();
            // 2 into 1, then 3 into 1, then 4 into 1.
            let mut times = merges.clone();
            times.sort_unstable();
            let merges: Vec<Merge> = times
                .iter()
                .zip(2i64..)
                .map(|(at, absorbed_id)| Merge { at: *at, absorbed_id, survivor_id: 1 })
                .collect();
            let own = |statement: &&Statement| statement.profile_id <= 1 + merges.len() as i64;
            let mine: Vec<Statement> = statements.iter().filter(own).cloned().collect();
            let expected = standing(1, &mine, &merges, Timestamp::MAX);

            let mut shuffled = mine.clone();
            let mut state = seed | 1;
            shuffled.sort_by_key(|_| { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); state >> 33 });
            let mut reversed = merges.clone();
            reversed.reverse();
            prop_assert_eq!(&standing(1, &shuffled, &reversed, Timestamp::MAX), &expected);

            // The oracle: a no wins among profiles, the last statement within one, unless said after all merges.
            let last_merge = merges.iter().map(|merge| merge.at).max().unwrap_or(Timestamp::MIN);
            let after = mine.iter().filter(|s| s.at >= last_merge).max_by_key(|s| (s.at, s.id));
            if let Some(after) = after {
                prop_assert_eq!(expected.get("ads").map(|v| v.granted), Some(after.granted));
            } else if mine.iter().all(|s| s.granted) && !mine.is_empty() {
                prop_assert_eq!(expected.get("ads").map(|v| v.granted), Some(true));
            }
        }
    }
}
