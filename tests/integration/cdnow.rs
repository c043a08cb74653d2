//! The demo: runs as a person sees it, and its numbers are those that the raw purchases give.

use std::process::Command;

use cdp_tests::{command, repository, sink, Settings, Sink};

/// A purchase: when, in days since 1997-01-01, and for how many cents.
type Purchase = (i64, i64);

fn purchases() -> Vec<Vec<Purchase>> {
    let file = std::fs::read_to_string(repository().join("examples/cdnow/purchases.csv")).unwrap();
    file.lines()
        .skip(1)
        .map(|line| {
            let (_, purchases) = line.split_once(',').unwrap();
            purchases
                .split(' ')
                .map(|purchase| {
                    let mut parts = purchase.split(':').map(|part| part.parse().unwrap());
                    let day = parts.next().unwrap();
                    (day, parts.nth(1).unwrap())
                })
                .collect()
        })
        .collect()
}

/// How many customers are in the segments `vip` and `lapsing` on that day (at midnight, as the purchases).
fn members(customers: &[Vec<Purchase>], today: i64) -> (usize, usize) {
    let count = |rule: &dyn Fn(i64, usize, i64) -> bool| {
        customers
            .iter()
            .filter(|purchases| {
                let cents = purchases.iter().map(|(_, cents)| cents).sum();
                let recent = purchases
                    .iter()
                    .filter(|(day, _)| today - day <= 90)
                    .count();
                let last = purchases.iter().map(|(day, _)| today - day).min().unwrap();
                rule(cents, recent, last)
            })
            .count()
    };
    (
        count(&|cents, recent, _| recent >= 3 && cents >= 25_000),
        count(&|cents, _, last| cents >= 25_000 && (60..180).contains(&last)),
    )
}

#[test]
fn the_demo_says_what_the_raw_purchases_say() {
    let customers = purchases();
    assert_eq!(customers.len(), 23_570);
    assert_eq!(customers.iter().map(Vec::len).sum::<usize>(), 69_659);

    let cluster = Settings::new("cdnow").preload("cdp_demo").start();
    cluster.create_database("cdp_demo");
    let log = cluster.scratch("webhooks.log");
    let sink = Sink::listen(0, Some(sink::log_to(&log).unwrap())).unwrap();
    let mut demo = Command::new(repository().join("examples/cdnow/demo.sh"));
    command::without_postgres_environment(&mut demo);
    let search_path = std::env::var("PATH").unwrap_or_default();
    let output = command::run(
        demo.env("PGHOST", cluster.host())
            .env("PGPORT", "5432")
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "cdp_demo")
            .env("CDP_SINK_URL", sink.url(""))
            .env("CDP_SINK_LOG", &log)
            .env(
                "PATH",
                format!("{}:{search_path}", cluster.install().bin.display()),
            ),
    );
    let printed = String::from_utf8_lossy(&output.stdout);

    // The table that compares: one for 1998-07-01, one for 1998-08-30.
    let rows = |what: &str| -> Vec<Vec<String>> {
        printed
            .lines()
            .map(|line| {
                line.split('|')
                    .map(|cell| cell.trim().to_string())
                    .collect::<Vec<_>>()
            })
            .filter(|cells| cells.len() == 4 && cells[0] == what)
            .collect()
    };
    let expect = |what: &str, counts: [usize; 2]| {
        let expected: Vec<Vec<String>> = counts
            .iter()
            .map(|count| {
                vec![
                    what.to_string(),
                    count.to_string(),
                    count.to_string(),
                    "0".to_string(),
                ]
            })
            .collect();
        assert_eq!(rows(what), expected, "in:\n{printed}");
    };
    // Days from 1997-01-01 to 1998-07-01 and to 1998-08-30.
    let (vip, lapsing) = members(&customers, 546);
    let (later_vip, later_lapsing) = members(&customers, 606);
    assert!(
        vip > later_vip && lapsing != later_lapsing,
        "time changes nothing"
    );
    expect("purchases", [69_659, 69_659]);
    expect("people", [23_570, 23_570]);
    expect("trait ltv", [23_570, 23_570]);
    expect("segment vip", [vip, later_vip]);
    expect("segment lapsing", [lapsing, later_lapsing]);
    expect("webhooks about vip", [vip, later_vip]);
    expect("webhooks about lapsing", [lapsing, later_lapsing]);
}
