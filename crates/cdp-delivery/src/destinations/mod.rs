//! The destinations, one file each.

mod alert;
mod amplitude;
mod attio;
mod braze;
mod customerio;
mod discord;
mod ga4;
mod heap;
mod hubspot;
mod intercom;
mod klaviyo;
mod mixpanel;
mod pipedrive;
mod postgres;
mod posthog;
mod relay;
mod salesforce;
mod salesforce_token;
mod slack;
mod spec;
mod teams;
mod webhook;

use crate::destination::{CatalogueEntry, Destination};
use std::sync::OnceLock;

/// Every destination, in the order of the catalogue.
const ALL: &[&dyn Destination] = &[
    &webhook::Webhook,
    &slack::Slack,
    &mixpanel::Mixpanel,
    &attio::Attio,
    &relay::Segment,
    &relay::RudderStack,
    &amplitude::Amplitude,
    &posthog::PostHog,
    &ga4::GoogleAnalytics,
    &heap::Heap,
    &hubspot::HubSpot,
    &salesforce::Salesforce,
    &pipedrive::Pipedrive,
    &intercom::Intercom,
    &customerio::CustomerIo,
    &braze::Braze,
    &klaviyo::Klaviyo,
    &discord::Discord,
    &teams::Teams,
    &postgres::Postgres,
];

/// The catalogue.
pub fn catalogue() -> &'static [&'static CatalogueEntry] {
    static ENTRIES: OnceLock<Vec<&'static CatalogueEntry>> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        ALL.iter()
            .map(|destination| destination.catalogue())
            .collect()
    })
}

/// The destination of a kind.
pub fn destination(kind: &str) -> Option<&'static dyn Destination> {
    ALL.iter()
        .copied()
        .find(|destination| destination.catalogue().kind == kind)
}
