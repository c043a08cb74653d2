//! The symbols that the SQL declarations in `sql/` refer to.

use super::function::call;
use pgrx::pg_sys;

macro_rules! functions {
    ($($symbol:ident, $info:ident => $body:path;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub extern "C-unwind" fn $symbol(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
                call(fcinfo, $body)
            }

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
}
