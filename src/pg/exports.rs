//! The symbols that the SQL declarations in `sql/` refer to.

use super::function::call;
use pgrx::pg_sys;

macro_rules! functions {
    ($($symbol:ident, $info:ident => $body:path;)*) => {
        $(
            // SAFETY: the name is ours alone: it begins with cdp_ or pg_finfo_cdp_.
            #[unsafe(no_mangle)]
            pub extern "C-unwind" fn $symbol(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
                call(fcinfo, $body)
            }

            // SAFETY: the name is ours alone: it begins with cdp_ or pg_finfo_cdp_.
            #[unsafe(no_mangle)]
            pub extern "C-unwind" fn $info() -> &'static pg_sys::Pg_finfo_record {
                const VERSION_1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
                &VERSION_1
            }
        )*
    };
}

functions! {
    cdp_now, pg_finfo_cdp_now => crate::api::read::now;
    cdp_version, pg_finfo_cdp_version => crate::api::read::version;
    cdp_resolve, pg_finfo_cdp_resolve => crate::api::read::resolve_id;
    cdp_trait, pg_finfo_cdp_trait => crate::api::read::trait_;
    cdp_traits_of, pg_finfo_cdp_traits_of => crate::api::read::traits_of;
    cdp_traits, pg_finfo_cdp_traits => crate::api::read::traits;
    cdp_sent_traits, pg_finfo_cdp_sent_traits => crate::api::read::sent_traits;
    cdp_in_segment, pg_finfo_cdp_in_segment => crate::api::read::in_segment;
    cdp_segments, pg_finfo_cdp_segments => crate::api::read::segments;
    cdp_members, pg_finfo_cdp_members => crate::api::segments::members;
    cdp_member_counts, pg_finfo_cdp_member_counts => crate::api::segments::member_counts;
    cdp_segment_overlap, pg_finfo_cdp_segment_overlap => crate::api::segments::overlap;
    cdp_define_static_segment, pg_finfo_cdp_define_static_segment => crate::api::segments::define_static_segment;
    cdp_add_members, pg_finfo_cdp_add_members => crate::api::segments::add_members;
    cdp_remove_members, pg_finfo_cdp_remove_members => crate::api::segments::remove_members;
    cdp_profile, pg_finfo_cdp_profile => crate::api::read::profile;
    cdp_history, pg_finfo_cdp_history => crate::api::read::history;
    cdp_evaluate, pg_finfo_cdp_evaluate => crate::api::read::evaluate;
    cdp_preview, pg_finfo_cdp_preview => crate::api::read::preview;
    cdp_compiled_values, pg_finfo_cdp_compiled_values => crate::api::read::compiled_values;
    cdp_lower_text, pg_finfo_cdp_lower_text => crate::api::compiled::lower_text;
    cdp_upper_text, pg_finfo_cdp_upper_text => crate::api::compiled::upper_text;
    cdp_text_matches, pg_finfo_cdp_text_matches => crate::api::compiled::text_matches;
    cdp_text_to_instant, pg_finfo_cdp_text_to_instant => crate::api::compiled::text_to_instant;
    cdp_value_order, pg_finfo_cdp_value_order => crate::api::compiled::value_order;
    cdp_value_is_listable, pg_finfo_cdp_value_is_listable => crate::api::compiled::value_is_listable;
    cdp_track, pg_finfo_cdp_track => crate::api::ingest::track;
    cdp_identify, pg_finfo_cdp_identify => crate::api::ingest::identify;
    cdp_page, pg_finfo_cdp_page => crate::api::ingest::page;
    cdp_screen, pg_finfo_cdp_screen => crate::api::ingest::screen;
    cdp_group, pg_finfo_cdp_group => crate::api::ingest::group;
    cdp_alias, pg_finfo_cdp_alias => crate::api::ingest::alias;
    cdp_ingest_jsonb, pg_finfo_cdp_ingest_jsonb => crate::api::ingest::ingest_jsonb;
    cdp_ingest_text, pg_finfo_cdp_ingest_text => crate::api::ingest::ingest_text;
    cdp_inbox_row, pg_finfo_cdp_inbox_row => crate::api::ingest::inbox_row;
    cdp_inbox_end, pg_finfo_cdp_inbox_end => crate::api::ingest::inbox_end;
    cdp_attach, pg_finfo_cdp_attach => crate::api::attach::attach;
    cdp_detach, pg_finfo_cdp_detach => crate::api::attach::detach;
    cdp_attached_insert, pg_finfo_cdp_attached_insert => crate::api::attach::attached_insert;
    cdp_attached_update, pg_finfo_cdp_attached_update => crate::api::attach::attached_update;
    cdp_requeue_quarantine, pg_finfo_cdp_requeue_quarantine => crate::api::ingest::requeue_quarantine;
    cdp_define_trait, pg_finfo_cdp_define_trait => crate::api::define::define_trait;
    cdp_define_segment, pg_finfo_cdp_define_segment => crate::api::define::define_segment;
    cdp_define_audience, pg_finfo_cdp_define_audience => crate::api::define::define_audience;
    cdp_define_namespace, pg_finfo_cdp_define_namespace => crate::api::namespaces::define_namespace;
    cdp_current_namespace, pg_finfo_cdp_current_namespace => crate::api::namespaces::current_namespace;
    cdp_bound_namespaces, pg_finfo_cdp_bound_namespaces => crate::api::namespaces::bound_namespaces;
    cdp_start_job, pg_finfo_cdp_start_job => crate::api::jobs::start_job;
    cdp_stop_job, pg_finfo_cdp_stop_job => crate::api::jobs::stop_job;
    cdp_schedule, pg_finfo_cdp_schedule => crate::api::jobs::schedule;
    cdp_unschedule, pg_finfo_cdp_unschedule => crate::api::jobs::unschedule;
    cdp_drop_namespace, pg_finfo_cdp_drop_namespace => crate::api::namespaces::drop_namespace;
    cdp_namespace_statistics, pg_finfo_cdp_namespace_statistics => crate::api::namespaces::namespace_statistics;
    cdp_route_namespace, pg_finfo_cdp_route_namespace => crate::api::namespaces::route_namespace;
    cdp_bind_role, pg_finfo_cdp_bind_role => crate::api::namespaces::bind_role;
    cdp_unbind_role, pg_finfo_cdp_unbind_role => crate::api::namespaces::unbind_role;
    cdp_drop_trait, pg_finfo_cdp_drop_trait => crate::api::define::drop_trait;
    cdp_drop_segment, pg_finfo_cdp_drop_segment => crate::api::define::drop_segment;
    cdp_validate, pg_finfo_cdp_validate => crate::api::define::validate;
    cdp_explain_identity, pg_finfo_cdp_explain_identity => crate::api::explain::explain_identity;
    cdp_explain_trait, pg_finfo_cdp_explain_trait => crate::api::explain::explain_trait;
    cdp_explain_segment, pg_finfo_cdp_explain_segment => crate::api::explain::explain_segment;
    cdp_define_flag, pg_finfo_cdp_define_flag => crate::api::flags::define_flag;
    cdp_drop_flag, pg_finfo_cdp_drop_flag => crate::api::flags::drop_flag;
    cdp_define_holdout, pg_finfo_cdp_define_holdout => crate::api::flags::define_holdout;
    cdp_drop_holdout, pg_finfo_cdp_drop_holdout => crate::api::flags::drop_holdout;
    cdp_set_override, pg_finfo_cdp_set_override => crate::api::flags::set_override;
    cdp_clear_override, pg_finfo_cdp_clear_override => crate::api::flags::clear_override;
    cdp_decide, pg_finfo_cdp_decide => crate::api::flags::decide;
    cdp_expose, pg_finfo_cdp_expose => crate::api::flags::expose;
    cdp_define_experiment, pg_finfo_cdp_define_experiment => crate::api::experiments::define_experiment;
    cdp_drop_experiment, pg_finfo_cdp_drop_experiment => crate::api::experiments::drop_experiment;
    cdp_experiment_report, pg_finfo_cdp_experiment_report => crate::api::experiments::experiment_report;
    cdp_decide_all, pg_finfo_cdp_decide_all => crate::api::flags::decide_all;
    cdp_explain_decision, pg_finfo_cdp_explain_decision => crate::api::flags::explain_decision;
    cdp_lead_definition, pg_finfo_cdp_lead_definition => crate::api::scores::lead_definition;
    cdp_namespaces_with_default_score, pg_finfo_cdp_namespaces_with_default_score => crate::api::scores::namespaces_with_default_score;
    cdp_define_score, pg_finfo_cdp_define_score => crate::api::scores::define_score;
    cdp_drop_score, pg_finfo_cdp_drop_score => crate::api::scores::drop_score;
    cdp_score, pg_finfo_cdp_score => crate::api::scores::score;
    cdp_scores, pg_finfo_cdp_scores => crate::api::scores::scores;
    cdp_explain_score, pg_finfo_cdp_explain_score => crate::api::scores::explain_score;
    cdp_score_chunk, pg_finfo_cdp_score_chunk => crate::api::scores::score_chunk;
    cdp_health, pg_finfo_cdp_health => crate::api::operate::health;
    cdp_metrics, pg_finfo_cdp_metrics => crate::api::metrics::metrics;
    cdp_unmerge, pg_finfo_cdp_unmerge => crate::api::operate::unmerge;
    cdp_rebuild, pg_finfo_cdp_rebuild => crate::api::operate::rebuild;
    cdp_run_due, pg_finfo_cdp_run_due => crate::api::operate::run_due;
    cdp_define_destination, pg_finfo_cdp_define_destination => crate::api::destinations::define_destination;
    cdp_drop_destination, pg_finfo_cdp_drop_destination => crate::api::destinations::drop_destination;
    cdp_pause_destination, pg_finfo_cdp_pause_destination => crate::api::destinations::pause_destination;
    cdp_resume_destination, pg_finfo_cdp_resume_destination => crate::api::destinations::resume_destination;
    cdp_test_destination, pg_finfo_cdp_test_destination => crate::api::destinations::test_destination;
    cdp_destination_kinds, pg_finfo_cdp_destination_kinds => crate::api::destinations::destination_kinds;
    cdp_define_route, pg_finfo_cdp_define_route => crate::api::destinations::define_route;
    cdp_drop_route, pg_finfo_cdp_drop_route => crate::api::destinations::drop_route;
    cdp_retry_dead_letters, pg_finfo_cdp_retry_dead_letters => crate::api::destinations::retry_dead_letters;
    cdp_announce_workers, pg_finfo_cdp_announce_workers => crate::api::destinations::announce_workers;
    cdp_try_route, pg_finfo_cdp_try_route => crate::api::destinations::try_route;
    cdp_suppress, pg_finfo_cdp_suppress => crate::api::consent::suppress;
    cdp_unsuppress, pg_finfo_cdp_unsuppress => crate::api::consent::unsuppress;
    cdp_set_consent, pg_finfo_cdp_set_consent => crate::api::consent::set_consent;
    cdp_consent, pg_finfo_cdp_consent => crate::api::consent::consent;
    cdp_replay_events, pg_finfo_cdp_replay_events => crate::api::destinations::replay_events;
}
