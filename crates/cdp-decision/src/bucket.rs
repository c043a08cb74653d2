//! Which of a million buckets a person falls into: the same on every machine and in every version
//! (`tests/vectors.json`).

/// Shares are counted in millionths.
pub const BUCKETS: u32 = 1_000_000;

/// What a bucket is for. Each purpose divides people independently of the others: who is in the first tenth
/// of a rollout is no likelier to get one variant than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Who is in while a rollout rises.
    Rollout,
    /// Which variant of a split.
    Split,
    /// Who is held out, salted with the key of the holdout.
    Holdout,
    /// Which flag of an exclusive group, salted with the name of the group.
    Group,
}

impl Purpose {
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Rollout => "rollout",
            Purpose::Split => "split",
            Purpose::Holdout => "holdout",
            Purpose::Group => "group",
        }
    }
}

/// The bucket (0 to 999,999) of a person: the first 60 bits of SHA-256 of `purpose/salt:key`, modulo a million.
/// The function of the expression language's `bucket()`, with `purpose/salt` as salt.
pub fn bucket(purpose: Purpose, salt: &str, key: &str) -> u32 {
    cdp_expr::bucket(&format!("{}/{salt}", purpose.as_str()), key, BUCKETS)
}
