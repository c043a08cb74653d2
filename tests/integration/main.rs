//! Integration tests: one file a subject. Each test starts the cluster it needs; run one subject with
//! `tools/tier.sh integration 15 lifecycle`.

mod harness;
