//! The algorithm of identity resolution.

use crate::plan::{
    Demotion, DemotionReason, IdentityError, Link, Merge, MessageIdentifier, MessageIdentifiers,
    NewProfile, Plan, Rule,
};
use crate::rules::{KindId, Rules, EMAIL};
use crate::snapshot::{ProfileRef, Snapshot};
use cdp_value::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Resolves a batch of messages in order; each sees what the ones before it did. The snapshot is
/// brought up to date, so `plan(a)` then `plan(b)` is the same as `plan(a and b)`.
///
/// For each message:
/// 1. Blocked values do not count. Identifiers that nobody has are *new*.
/// 2. If the others belong to nobody, to one person, or to several, the message makes a new
///    person, is that person's, or makes them one, and the new identifiers are linked.
/// 3. But if a person would then have more values of a kind than the limit, or two persons that
///    were split by hand would become one, identifiers are taken in the order of trust, and each
///    that would bring the conflict about is *demoted*: it does not count. So the least trusted
///    lose, and only those that take part in the conflict: a shared address does not cost
///    somebody the history of their browser. (Trust goes by the priority of the kind, and within a
///    kind by the order of the message.)
/// 4. An alias names earlier ids of the person. That is a request, so limits do not apply to it:
///    whoever owns the earlier id, also as a second user id, becomes one with the person. Only
///    persons that were split by hand stay apart. An earlier id that nobody has is linked under
///    every kind that it was listed as, so that messages under it find the person later; one that
///    the person has under any kind asks for nothing more. An earlier id is an email only if
///    somebody has that email, and nobody has the id as anything else.
///
/// A merge is survived by the oldest person. The limit only stops what makes a person exceed it:
/// somebody who is over the limit already, by an alias or because the limit was lowered, stays
/// whole and may still be merged with people who add no value of that kind.
pub fn plan(rules: &Rules, snapshot: &mut Snapshot, messages: &[MessageIdentifiers]) -> Plan {
    let mut plan = Plan {
        assignments: Vec::with_capacity(messages.len()),
        ..Plan::default()
    };
    for (position, message) in messages.iter().enumerate() {
        let mut resolver = Resolver {
            rules,
            snapshot,
            plan: &mut plan,
            position,
            at: message.at,
        };
        let assignment = match resolver.resolve(&message.identifiers) {
            Ok(profile) => Some(profile),
            Err(error) => {
                plan.errors.push((position, error));
                None
            }
        };
        plan.assignments.push(assignment);
    }
    plan
}

/// An identifier of the message that is being resolved.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    identifier: &'a MessageIdentifier,
    owner: Option<ProfileRef>,
    /// Place in the order of trust; kinds without a rule are trusted least.
    rank: usize,
    is_user_id: bool,
}

/// Identifiers that do not count, and why.
type Demoted<'a> = Vec<(Candidate<'a>, DemotionReason)>;

/// Most values of a kind that has no rule.
const DEFAULT_LIMIT: usize = 5;

struct Resolver<'a> {
    rules: &'a Rules,
    snapshot: &'a mut Snapshot,
    plan: &'a mut Plan,
    position: usize,
    at: Timestamp,
}

impl Resolver<'_> {
    fn resolve(&mut self, identifiers: &[MessageIdentifier]) -> Result<ProfileRef, IdentityError> {
        if let Some(profile) = self.sole_owner(identifiers) {
            return Ok(profile);
        }
        let present = self.candidates(identifiers, false);
        self.check_user_ids(&present)?;
        let earlier = self.candidates(identifiers, true);
        let (present, demoted) = self.settle(present);
        if present.is_empty() {
            return Err(IdentityError::NoIdentifier);
        }
        let profile = self.assign(&present, earlier);
        for (candidate, reason) in demoted {
            // An identifier that belongs to the person anyway lost nothing.
            let owner = candidate.owner.map(|owner| self.snapshot.canonical(owner));
            if owner != Some(profile) {
                self.demote(candidate.identifier, reason);
            }
        }
        Ok(profile)
    }

    /// The person to whom all identifiers belong already: by far the most usual case.
    fn sole_owner(&self, identifiers: &[MessageIdentifier]) -> Option<ProfileRef> {
        let mut sole = None;
        for identifier in identifiers {
            let owner = self.snapshot.owner(identifier.kind, &identifier.value)?;
            if !self.identifies(identifier) {
                return None;
            }
            if *sole.get_or_insert(owner) != owner {
                return None;
            }
        }
        sole
    }

    /// Whether the value can tell a person at all.
    fn identifies(&self, identifier: &MessageIdentifier) -> bool {
        match self.rules.get(identifier.kind) {
            Some(rule) => rule.limit > 0 && !rule.blocked.is_blocked(&identifier.value),
            None => !identifier.value.trim().is_empty(),
        }
    }

    /// The identifiers that count, each once, in the order of the message.
    fn candidates<'m>(
        &mut self,
        identifiers: &'m [MessageIdentifier],
        previous: bool,
    ) -> Vec<Candidate<'m>> {
        let mut candidates: Vec<Candidate<'m>> = Vec::with_capacity(identifiers.len());
        for identifier in identifiers.iter().filter(|i| i.previous == previous) {
            let ranked = self.rules.ranked(identifier.kind);
            let known = candidates.iter().any(|known| {
                known.identifier.kind == identifier.kind
                    && known.identifier.value == identifier.value
            });
            if !self.identifies(identifier) {
                self.demote(identifier, DemotionReason::Blocked);
            } else if !known {
                candidates.push(Candidate {
                    identifier,
                    owner: self.snapshot.owner(identifier.kind, &identifier.value),
                    rank: ranked.map_or(usize::MAX, |ranked| ranked.rank),
                    is_user_id: ranked.is_some_and(|ranked| ranked.is_user_id),
                });
            }
        }
        candidates
    }

    /// Refuses a message that names more user ids than a person may have, unless they belong to
    /// one person already.
    fn check_user_ids(&self, candidates: &[Candidate<'_>]) -> Result<(), IdentityError> {
        let mut user_ids = candidates.iter().filter(|candidate| candidate.is_user_id);
        let (Some(first), Some(second)) = (user_ids.next(), user_ids.next()) else {
            return Ok(());
        };
        let count = 2 + user_ids.clone().count();
        let limit = self.limit(first.identifier.kind);
        let one_person = first.owner.is_some()
            && second.owner == first.owner
            && user_ids.all(|other| other.owner == first.owner);
        if count <= limit || one_person {
            return Ok(());
        }
        Err(IdentityError::SeveralUserIds {
            first: first.identifier.value.clone(),
            second: second.identifier.value.clone(),
        })
    }

    fn limit(&self, kind: KindId) -> usize {
        self.rules.get(kind).map_or(DEFAULT_LIMIT, |rule| {
            usize::try_from(rule.limit).unwrap_or(usize::MAX)
        })
    }

    /// Takes identifiers in the order of trust as long as they can be one person; returns those
    /// taken and those demoted.
    fn settle<'m>(&self, mut present: Vec<Candidate<'m>>) -> (Vec<Candidate<'m>>, Demoted<'m>) {
        if self.conflict(&present).is_none() {
            return (present, Vec::new());
        }
        // The sort is stable. That the order depends on nothing but the message makes the outcome
        // the same when the message comes again: what was taken is one person by then, and the
        // conflicts of the others have not gone away.
        present.sort_by_key(|candidate| candidate.rank);
        let mut taken = Vec::with_capacity(present.len());
        let mut demoted = Vec::new();
        for candidate in present {
            taken.push(candidate);
            if let Some(reason) = self.conflict(&taken) {
                taken.pop();
                demoted.push((candidate, reason));
            }
        }
        (taken, demoted)
    }

    /// What speaks against making these one person: a limit that the person would exceed and none
    /// of the persons it is made of exceeds as much, or a split.
    fn conflict(&self, present: &[Candidate<'_>]) -> Option<DemotionReason> {
        let owners: BTreeSet<ProfileRef> = present.iter().filter_map(|c| c.owner).collect();
        let mut added: BTreeMap<KindId, usize> = BTreeMap::new();
        for candidate in present.iter().filter(|c| c.owner.is_none()) {
            *added.entry(candidate.identifier.kind).or_default() += 1;
        }
        if owners.len() < 2 && added.is_empty() {
            return None;
        }
        for (index, a) in owners.iter().enumerate() {
            for b in owners.iter().skip(index + 1) {
                if self.snapshot.is_split(*a, *b) {
                    return Some(DemotionReason::Split);
                }
            }
        }
        let mut kinds: BTreeSet<KindId> = added.keys().copied().collect();
        if owners.len() > 1 {
            kinds.extend(owners.iter().flat_map(|owner| self.snapshot.kinds(*owner)));
        }
        let exceeded = kinds.into_iter().find(|kind| {
            let since = self.window_start(*kind);
            let counts = owners
                .iter()
                .map(|owner| self.snapshot.count(*owner, *kind, since));
            let most = counts.clone().max().unwrap_or(0);
            let total = counts.sum::<usize>() + added.get(kind).copied().unwrap_or(0);
            total > self.limit(*kind) && total > most
        });
        exceeded.map(DemotionReason::Limit)
    }

    /// The time after which values of a kind count against its limit.
    fn window_start(&self, kind: KindId) -> Option<Timestamp> {
        let window = self.rules.get(kind)?.limit_window?;
        Some(self.at.saturating_sub(window))
    }

    /// Finds or makes the person of the identifiers that are left, and writes down what that
    /// changes.
    fn assign(&mut self, present: &[Candidate<'_>], earlier: Vec<Candidate<'_>>) -> ProfileRef {
        let owners = self.by_age(present);
        let known = owners.split_first().map(|(oldest, others)| {
            for absorbed in others {
                self.merge(*oldest, *absorbed, Rule::Merge);
            }
            *oldest
        });
        let earlier = self.unanswered(known, present, earlier);
        let earlier_owners = self.by_age(&earlier);
        let (mut profile, rule) = match (known, earlier_owners.first()) {
            (Some(oldest), _) if owners.len() > 1 => (oldest, Rule::Merge),
            (Some(only), _) => (only, Rule::Attach),
            // The person is known by the earlier id alone.
            (None, Some(oldest)) => (*oldest, Rule::Alias),
            (None, None) => (self.create(), Rule::Create),
        };
        for candidate in present.iter().filter(|c| c.owner.is_none()) {
            self.link(profile, candidate.identifier, rule);
        }
        for owner in earlier_owners {
            profile = self.unite(profile, owner, &earlier);
        }
        self.link_earlier(profile, &earlier);
        profile
    }

    /// The earlier ids that are not the person's yet. One that is, under any kind, is answered
    /// under all: otherwise an alias that comes a second time could reach further than the first.
    fn unanswered<'m>(
        &self,
        known: Option<ProfileRef>,
        present: &[Candidate<'_>],
        mut earlier: Vec<Candidate<'m>>,
    ) -> Vec<Candidate<'m>> {
        let is_answered = |candidate: &Candidate<'_>| {
            let value = &candidate.identifier.value;
            let owner = candidate.owner.map(|owner| self.snapshot.canonical(owner));
            (owner.is_some() && owner == known)
                || present.iter().any(|p| p.identifier.value == *value)
        };
        let answered: Vec<Candidate<'_>> =
            earlier.iter().copied().filter(|c| is_answered(c)).collect();
        earlier.retain(|candidate| {
            !answered
                .iter()
                .any(|other| self.is_same_id(candidate, other))
        });
        self.meant(&mut earlier);
        earlier
    }

    /// Leaves earlier ids as emails only where somebody has that email, and nobody has the id as
    /// anything else; then they are nothing else.
    fn meant(&self, earlier: &mut Vec<Candidate<'_>>) {
        if !earlier.iter().any(|candidate| self.is_email(candidate)) {
            return;
        }
        let owned: Vec<Candidate<'_>> = earlier
            .iter()
            .copied()
            .filter(|c| c.owner.is_some())
            .collect();
        earlier.retain(|candidate| {
            let is_owned_as_email = |as_email: bool| {
                let mut owned = owned.iter().filter(|c| self.is_email(c) == as_email);
                owned.any(|other| self.is_same_id(candidate, other))
            };
            let is_meant_as_email = is_owned_as_email(true) && !is_owned_as_email(false);
            self.is_email(candidate) == is_meant_as_email
        });
    }

    fn is_email(&self, candidate: &Candidate<'_>) -> bool {
        let rule = self.rules.get(candidate.identifier.kind);
        rule.is_some_and(|rule| rule.name == EMAIL)
    }

    /// Whether two candidates are one id under two kinds. Emails are kept in one form, other ids as
    /// they came.
    fn is_same_id(&self, a: &Candidate<'_>, b: &Candidate<'_>) -> bool {
        let (a_value, b_value) = (&a.identifier.value, &b.identifier.value);
        if self.is_email(a) == self.is_email(b) {
            return a_value == b_value;
        }
        a_value.trim().to_lowercase() == b_value.trim().to_lowercase()
    }

    /// Makes the owner of an earlier id one with the person, unless they were split by hand.
    fn unite(
        &mut self,
        profile: ProfileRef,
        owner: ProfileRef,
        earlier: &[Candidate<'_>],
    ) -> ProfileRef {
        let owner = self.snapshot.canonical(owner);
        if owner == profile {
            return profile;
        }
        if self.snapshot.is_split(profile, owner) {
            for candidate in earlier.iter().filter(|c| c.owner == Some(owner)) {
                self.demote(candidate.identifier, DemotionReason::Split);
            }
            return profile;
        }
        let (survivor, absorbed) = if self.snapshot.age(owner) < self.snapshot.age(profile) {
            (owner, profile)
        } else {
            (profile, owner)
        };
        self.merge(survivor, absorbed, Rule::Alias);
        survivor
    }

    /// Links the earlier ids that nobody has under any kind.
    fn link_earlier(&mut self, profile: ProfileRef, earlier: &[Candidate<'_>]) {
        for candidate in earlier {
            let value = &candidate.identifier.value;
            let known = earlier
                .iter()
                .any(|other| other.owner.is_some() && other.identifier.value == *value);
            if !known {
                self.link(profile, candidate.identifier, Rule::Alias);
            }
        }
    }

    /// The persons that own identifiers, the oldest first.
    fn by_age(&self, candidates: &[Candidate<'_>]) -> Vec<ProfileRef> {
        let mut owners: Vec<ProfileRef> = candidates.iter().filter_map(|c| c.owner).collect();
        owners.sort_by_key(|owner| self.snapshot.age(*owner));
        owners.dedup();
        owners
    }

    fn create(&mut self) -> ProfileRef {
        let profile = self.snapshot.create();
        self.plan.new_profiles.push(NewProfile {
            profile,
            message: self.position,
        });
        profile
    }

    fn link(&mut self, profile: ProfileRef, identifier: &MessageIdentifier, rule: Rule) {
        self.snapshot
            .link(profile, identifier.kind, &identifier.value, self.at);
        self.plan.links.push(Link {
            profile,
            kind: identifier.kind,
            value: identifier.value.clone(),
            message: self.position,
            rule,
        });
    }

    fn merge(&mut self, survivor: ProfileRef, absorbed: ProfileRef, rule: Rule) {
        self.snapshot.merge(survivor, absorbed);
        self.plan.absorbed.insert(absorbed, survivor);
        self.plan.merges.push(Merge {
            survivor,
            absorbed,
            message: self.position,
            rule,
        });
    }

    fn demote(&mut self, identifier: &MessageIdentifier, reason: DemotionReason) {
        self.plan.demotions.push(Demotion {
            message: self.position,
            kind: identifier.kind,
            value: identifier.value.clone(),
            reason,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::KindRule;

    fn rules() -> Rules {
        let names = ["user_id", "email", "anonymous_id", "device_id"];
        Rules::new(
            (1..)
                .zip(names)
                .map(|(id, name)| KindRule::standard(id, name)),
        )
    }

    fn alias(user_id: &str, earlier: &str) -> MessageIdentifiers {
        let mut alias = message(&[(1, user_id), (1, earlier), (3, earlier), (2, earlier)]);
        for identifier in alias.identifiers.iter_mut().skip(1) {
            identifier.previous = true;
        }
        alias
    }

    #[test]
    fn an_earlier_id_is_an_email_if_it_is_nothing_else() {
        let known_as_email = message(&[(2, "jane@example.com"), (3, "browser")]);
        let jane = alias("jane", "jane@example.com");
        let messages = [known_as_email.clone(), jane.clone(), jane.clone()];
        let first = plan(&rules(), &mut Snapshot::new(), &messages);
        assert_eq!(first.assignments, [Some(ProfileRef::New(0)); 3]);
        assert_eq!(first.links.len(), 3, "{:?}", first.links);

        let known_as_user = message(&[(1, "jane@example.com")]);
        let messages = [known_as_email.clone(), known_as_user, jane.clone()];
        let second = plan(&rules(), &mut Snapshot::new(), &messages);
        assert_eq!(second.assignments[2], Some(ProfileRef::New(1)));
        assert_eq!(second.merges, []);

        let unknown = plan(&rules(), &mut Snapshot::new(), &[jane]);
        let linked: Vec<KindId> = unknown.links.iter().map(|link| link.kind).collect();
        assert_eq!(linked, [1, 1, 3]);
    }

    fn message(identifiers: &[(KindId, &str)]) -> MessageIdentifiers {
        MessageIdentifiers {
            at: 0,
            identifiers: identifiers
                .iter()
                .map(|(kind, value)| MessageIdentifier {
                    kind: *kind,
                    value: (*value).to_owned(),
                    previous: false,
                })
                .collect(),
        }
    }

    #[test]
    fn a_second_user_id_with_a_known_email_is_another_person() {
        let messages = [
            message(&[(1, "abc123"), (2, "jane@example1.com")]),
            message(&[(1, "abc456"), (2, "jane@example1.com")]),
        ];
        let plan = plan(&rules(), &mut Snapshot::new(), &messages);
        assert_eq!(
            plan.assignments,
            [Some(ProfileRef::New(0)), Some(ProfileRef::New(1))]
        );
        assert_eq!(plan.links.len(), 3);
        assert_eq!(plan.merges, []);
        assert_eq!(plan.demotions.len(), 1);
        assert_eq!(plan.demotions[0].kind, 2);
        assert_eq!(plan.demotions[0].reason, DemotionReason::Limit(1));
    }
}
