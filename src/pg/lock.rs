//! Locks in Postgres' lock table that no SQL of a user can take.

use pgrx::pg_sys::{self, Oid};

const DATABASES: u32 = 1262;
const EXTENSIONS: u32 = 3079;

fn tag(database: Oid, class: u32, object: u32) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: database.to_u32(),
        locktag_field2: class,
        locktag_field3: object,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}

/// Takes a lock until the end of the transaction, if nobody stands in the way.
fn try_lock(tag: &pg_sys::LOCKTAG, mode: u32) -> bool {
    // SAFETY: the tag is valid; called inside a transaction.
    let result = unsafe { pg_sys::LockAcquire(tag, mode as pg_sys::LOCKMODE, false, true) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// Makes this transaction the only one that takes or settles messages of a destination. False when
/// another one is at it. `relation` is the oid of `_cdp.destinations`.
pub fn try_destination(relation: u32, destination_id: i32) -> bool {
    // SAFETY: reads a global of the process.
    let database = unsafe { pg_sys::MyDatabaseId };
    try_lock(&tag(database, relation, destination_id as u32), pg_sys::ExclusiveLock)
}

/// Makes this transaction the only one that makes rows of new groups that hash to a slot. False when another
/// one is at it. `relation` is the oid of `_cdp.groups`.
pub fn try_group_slot(relation: u32, slot: u32) -> bool {
    // SAFETY: reads a global of the process.
    let database = unsafe { pg_sys::MyDatabaseId };
    try_lock(&tag(database, relation, slot), pg_sys::ExclusiveLock)
}

/// Oid of the extension in this database; None when it is not there.
pub fn extension() -> Option<Oid> {
    // SAFETY: called inside a transaction.
    let oid = unsafe { pg_sys::get_extension_oid(c"cdp".as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Keeps the extension from being dropped before the transaction ends. False when somebody is about to.
pub fn try_extension(extension: Oid) -> bool {
    // SAFETY: reads a global of the process.
    let database = unsafe { pg_sys::MyDatabaseId };
    try_lock(&tag(database, EXTENSIONS, extension.to_u32()), pg_sys::AccessShareLock)
}

/// Whether nobody waits to drop, rename, move or copy this database. Those commands lock it and then
/// give the sessions in it a few seconds to leave.
pub fn try_database() -> bool {
    // SAFETY: reads a global of the process.
    let database = unsafe { pg_sys::MyDatabaseId };
    try_lock(&tag(pg_sys::InvalidOid, DATABASES, database.to_u32()), pg_sys::RowExclusiveLock)
}
