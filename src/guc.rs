//! All settings of cdp (`cdp.*`).

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CString;

static NAMESPACE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static CLOCK: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static DATABASES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"postgres"));
static HTTP_ALLOW_HOSTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static SECRETS_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static SECRETS_KEY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static DEDUPLICATION_DAYS: GucSetting<i32> = GucSetting::<i32>::new(30);
static EVENT_BYTES: GucSetting<i32> = GucSetting::<i32>::new(32 * 1024);
static BATCH_BYTES: GucSetting<i32> = GucSetting::<i32>::new(500 * 1024);
static BATCH_MESSAGES: GucSetting<i32> = GucSetting::<i32>::new(2_500);
static ATTACH_RAISES: GucSetting<bool> = GucSetting::<bool>::new(false);
static CHUNK_ROWS: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static BACKFILL_IN_CALL: GucSetting<i32> = GucSetting::<i32>::new(50_000);
static TIMER_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(500);
static DELIVERY_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(2_000);
static DELIVERY_LEASE: GucSetting<i32> = GucSetting::<i32>::new(120);
static DELIVERY_BATCH: GucSetting<i32> = GucSetting::<i32>::new(1_000);
static OUTBOX_DAYS: GucSetting<i32> = GucSetting::<i32>::new(7);
static DEAD_LETTER_DAYS: GucSetting<i32> = GucSetting::<i32>::new(90);
static JOB_HISTORY_DAYS: GucSetting<i32> = GucSetting::<i32>::new(30);
static QUARANTINE_DAYS: GucSetting<i32> = GucSetting::<i32>::new(90);

/// Makes the settings known; called when the library is loaded.
pub fn define() {
    let plain = GucFlags::default();
    GucRegistry::define_string_guc(
        c"cdp.namespace",
        c"Namespace of calls that name none; unset: default.",
        c"A namespace must have been made with cdp.define_namespace.",
        &NAMESPACE,
        GucContext::Userset,
        plain,
    );
    GucRegistry::define_string_guc(
        c"cdp.clock",
        c"Fixed time for cdp.now(), for tests and simulations; unset: the real time.",
        c"For example 1998-07-01 00:00:00+00.",
        &CLOCK,
        GucContext::Suset,
        plain,
    );
    GucRegistry::define_string_guc(
        c"cdp.databases",
        c"Databases, separated by commas, in which background workers run.",
        c"Each takes two of max_worker_processes, beside the launcher.",
        &DATABASES,
        GucContext::Sighup,
        plain,
    );
    GucRegistry::define_string_guc(
        c"cdp.http_allow_hosts",
        c"Hosts (host or host:port, separated by commas) that may be reached over plain HTTP and at private addresses.",
        c"Without it, destinations must use https and public addresses.",
        &HTTP_ALLOW_HOSTS,
        GucContext::Suset,
        plain,
    );
    GucRegistry::define_string_guc(
        c"cdp.secrets_file",
        c"JSON file, readable by the server only, from which destinations take their secrets by name.",
        c"A secret is referred to as file:NAME, or as env:CDP_NAME for the server's environment.",
        &SECRETS_FILE,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"cdp.secrets_key",
        c"Where the key is that seals secrets given in clear: env:NAME, or the path of a file.",
        c"The key is 32 random bytes in base64 or as 64 hexadecimal digits.",
        &SECRETS_KEY,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    let days = |name, short, setting: &'static GucSetting<i32>| {
        GucRegistry::define_int_guc(name, short, c"", setting, 0, 36_500, GucContext::Suset, GucFlags::default());
    };
    days(c"cdp.deduplication_days", c"Days for which a message id is remembered; 0: for ever.", &DEDUPLICATION_DAYS);
    days(c"cdp.outbox_days", c"Days for which delivered messages are kept; 0: for ever.", &OUTBOX_DAYS);
    days(c"cdp.dead_letter_days", c"Days for which dead letters are kept; 0: for ever.", &DEAD_LETTER_DAYS);
    days(c"cdp.quarantine_days", c"Days for which quarantined messages are kept; 0: for ever.", &QUARANTINE_DAYS);
    days(c"cdp.job_history_days", c"Days for which ended runs of jobs are kept; 0: for ever.", &JOB_HISTORY_DAYS);
    let bytes = |name, short, setting: &'static GucSetting<i32>| {
        GucRegistry::define_int_guc(name, short, c"", setting, 1, 1 << 30, GucContext::Suset, GucFlags::UNIT_BYTE);
    };
    bytes(c"cdp.max_event_bytes", c"Largest message.", &EVENT_BYTES);
    bytes(c"cdp.max_batch_bytes", c"Largest batch in the shape SDKs send.", &BATCH_BYTES);
    let count = |name, short, setting: &'static GucSetting<i32>, context| {
        GucRegistry::define_int_guc(name, short, c"", setting, 1, i32::MAX, context, GucFlags::default());
    };
    count(
        c"cdp.max_batch_messages",
        c"Most messages of a batch in the shape SDKs send.",
        &BATCH_MESSAGES,
        GucContext::Suset,
    );
    count(
        c"cdp.chunk_rows",
        c"Rows of cdp.inbox that go through the pipeline together.",
        &CHUNK_ROWS,
        GucContext::Userset,
    );
    count(
        c"cdp.backfill_in_call",
        c"Up to this many people, a definition is backfilled in the defining call; beyond, in the background.",
        &BACKFILL_IN_CALL,
        GucContext::Userset,
    );
    count(c"cdp.delivery_batch", c"Most deliveries claimed at once.", &DELIVERY_BATCH, GucContext::Sighup);
    let milliseconds = |name, short, setting: &'static GucSetting<i32>| {
        GucRegistry::define_int_guc(name, short, c"", setting, 10, 3_600_000, GucContext::Sighup, GucFlags::UNIT_MS);
    };
    milliseconds(c"cdp.timer_interval", c"How often the timer worker looks for what is due.", &TIMER_INTERVAL);
    milliseconds(
        c"cdp.delivery_interval",
        c"How often the delivery worker looks for messages it was not woken for.",
        &DELIVERY_INTERVAL,
    );
    GucRegistry::define_int_guc(
        c"cdp.delivery_lease",
        c"For how long a worker holds messages it claimed; after a crash they are tried again.",
        c"",
        &DELIVERY_LEASE,
        5,
        86_400,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_bool_guc(
        c"cdp.attach_raises",
        c"Whether a row of an attached table that makes no good message is an error of the statement that brings it.",
        c"Otherwise the statement goes through and the message goes to cdp.quarantine.",
        &ATTACH_RAISES,
        GucContext::Userset,
        plain,
    );
    crate::pg::session::reserve_setting_prefix();
}

fn text(setting: &GucSetting<Option<CString>>) -> Option<String> {
    let value = setting.get()?.to_string_lossy().trim().to_string();
    if value.is_empty() {
        None
    } else {
        Some(value)
    }
}

fn list(setting: &GucSetting<Option<CString>>) -> Vec<String> {
    text(setting)
        .map(|t| t.split(',').map(|part| part.trim().to_string()).filter(|part| !part.is_empty()).collect())
        .unwrap_or_default()
}

fn size(setting: &GucSetting<i32>) -> usize {
    usize::try_from(setting.get()).unwrap_or(0)
}

pub fn namespace() -> Option<String> {
    text(&NAMESPACE)
}

pub fn clock() -> Option<String> {
    text(&CLOCK)
}

pub fn databases() -> Vec<String> {
    list(&DATABASES)
}

pub fn http_allow_hosts() -> Vec<String> {
    list(&HTTP_ALLOW_HOSTS)
}

pub fn secrets_file() -> Option<String> {
    text(&SECRETS_FILE)
}

pub fn secrets_key() -> Option<String> {
    text(&SECRETS_KEY)
}

pub fn deduplication_days() -> i64 {
    i64::from(DEDUPLICATION_DAYS.get())
}

pub fn outbox_days() -> i64 {
    i64::from(OUTBOX_DAYS.get())
}

pub fn dead_letter_days() -> i64 {
    i64::from(DEAD_LETTER_DAYS.get())
}

pub fn quarantine_days() -> i64 {
    i64::from(QUARANTINE_DAYS.get())
}

pub fn job_history_days() -> i64 {
    i64::from(JOB_HISTORY_DAYS.get())
}

pub fn max_event_bytes() -> usize {
    size(&EVENT_BYTES)
}

pub fn max_batch_bytes() -> usize {
    size(&BATCH_BYTES)
}

pub fn max_batch_messages() -> usize {
    size(&BATCH_MESSAGES)
}

pub fn attach_raises() -> bool {
    ATTACH_RAISES.get()
}

pub fn chunk_rows() -> usize {
    size(&CHUNK_ROWS)
}

pub fn backfill_in_call() -> i64 {
    i64::from(BACKFILL_IN_CALL.get())
}

pub fn delivery_batch() -> usize {
    size(&DELIVERY_BATCH)
}

pub fn timer_interval() -> std::time::Duration {
    std::time::Duration::from_millis(size(&TIMER_INTERVAL) as u64)
}

pub fn delivery_interval() -> std::time::Duration {
    std::time::Duration::from_millis(size(&DELIVERY_INTERVAL) as u64)
}

pub fn delivery_lease() -> std::time::Duration {
    std::time::Duration::from_secs(size(&DELIVERY_LEASE) as u64)
}
