//! Tests inside a server, for what only a server can show: `make test-pg`.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use crate::pg::clock;
    use crate::pg::datum::Param;
    use crate::pg::spi::Spi;
    use crate::traits::{catalog, person};
    use pgrx::prelude::*;

    fn one<T>(sql: &'static str, params: &[Param], read: impl FnOnce(&crate::pg::spi::Rows) -> T) -> T {
        Spi::connect(false, |spi| spi.query(sql, params)?.first(|row| Ok(read(row)))).ok().flatten().expect("one row")
    }

    #[pg_test]
    fn parameters_arrive_as_they_were_given() {
        let at = 899_251_200_123_456;
        let row = one(
            "SELECT $1, $2, $3, $4, $5, $6",
            &[
                Param::Int8(i64::MIN),
                Param::Text("žluťoučký 🐎"),
                Param::Bytes(&[0, 255, 1]),
                Param::Timestamp(at),
                Param::Jsonb(r#"{"a": 1.10}"#),
                Param::OptionalText(None),
            ],
            |row| {
                (
                    row.i64(0).ok(),
                    row.optional_text(1),
                    row.bytes(2).ok(),
                    row.optional_timestamp(3),
                    row.optional_jsonb(4),
                    row.is_null(5),
                )
            },
        );
        assert_eq!(row.0, Some(i64::MIN));
        assert_eq!(row.1.as_deref(), Some("žluťoučký 🐎"));
        assert_eq!(row.2, Some(vec![0, 255, 1]));
        assert_eq!(row.3, Some(at));
        assert_eq!(row.4.as_deref(), Some(r#"{"a": 1.10}"#));
        assert!(row.5);
    }

    #[pg_test]
    fn arrays_keep_their_nulls_and_their_order() {
        let row = one(
            "SELECT $1, $2, pg_catalog.array_to_string($3, ',', 'null'), pg_catalog.cardinality($4)",
            &[
                Param::Int8Array(&[3, 1, 2]),
                Param::TextArray(&["b", "", "a"]),
                Param::OptionalTimestampArray(&[Some(0), None]),
                Param::TextArray(&[]),
            ],
            |row| (row.int8_array(0), row.text_array(1), row.optional_text(2), row.optional_i32(3)),
        );
        assert_eq!(row.0, [3, 1, 2]);
        assert_eq!(row.1, ["b", "", "a"]);
        assert!(row.2.is_some_and(|text| text.ends_with(",null")));
        assert_eq!(row.3, Some(0));
    }

    #[pg_test]
    fn a_cursor_reads_more_rows_than_it_holds() {
        let mut sum = 0;
        let read = Spi::connect(true, |spi| {
            spi.for_each(
                "SELECT g FROM pg_catalog.generate_series(1::pg_catalog.int8, $1) AS g",
                &[Param::Int8(2_500)],
                100,
                |row| {
                    sum += row.i64(0)?;
                    Ok(())
                },
            )
        });
        assert!(read.is_ok());
        assert_eq!(sum, 2_500 * 2_501 / 2);
    }

    #[pg_test]
    fn a_read_only_connection_refuses_to_write() {
        let written = Spi::connect(true, |spi| spi.execute("DELETE FROM _cdp.timers", &[]));
        assert!(written.is_err());
    }

    #[pg_test]
    fn the_clock_can_be_fixed() {
        Spi::connect(false, |spi| {
            spi.query("SELECT pg_catalog.set_config('cdp.clock', '1998-07-01', true)", &[]).map(|_| ())
        })
        .expect("a setting");
        assert_eq!(clock::now().ok(), Some(899_251_200_000_000));
        assert_eq!(one("SELECT cdp.now()", &[], |row| row.optional_timestamp(0)), Some(899_251_200_000_000));
    }

    #[pg_test]
    fn definitions_are_remembered_until_they_change() {
        Spi::connect(false, |spi| {
            let namespace = crate::namespaces::find(spi, None)?;
            let first = catalog::current(spi, &namespace)?;
            assert!(std::rc::Rc::ptr_eq(&first, &catalog::current(spi, &namespace)?));
            spi.query("SELECT cdp.define_trait('remembered', 'events.a.count_7d')", &[])?;
            let second = catalog::current(spi, &namespace)?;
            assert!(second.version > first.version);
            assert!(second.trait_by_key("remembered").is_some());
            Ok(())
        })
        .expect("definitions");
    }

    #[pg_test]
    fn events_of_a_person_others_hold_would_be_found_pending() {
        Spi::connect(false, |spi| {
            spi.query("SELECT cdp.track('held', 'a')", &[])?;
            let id = spi.query("SELECT cdp.resolve('held')", &[])?.first(|row| row.i64(0))?.unwrap_or(0);
            assert_eq!(person::lock(spi, &[id])?.len(), 1);
            assert_eq!(person::load(spi, &[id])?.first().map(|p| p.state.event_count), Some(1));
            Ok(())
        })
        .expect("a person");
    }

    #[pg_test(error = "nobody is known as \"ghost\"")]
    fn errors_reach_the_client_with_their_message() {
        let _ = Spi::connect(false, |spi| spi.query("SELECT cdp.evaluate('ghost', '1 + 1')", &[]).map(|_| ()));
    }
}
