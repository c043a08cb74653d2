//! The evaluator of one person and the statement for everybody mean the same: every expression of the reference.
//! The random expressions of `oracle` are compared by it, with a third meaning.

use cdp_tests::{repository, Settings};

/// The expressions that the reference shows, apart from those about one message or one question.
fn expressions() -> Vec<String> {
    let page = std::fs::read_to_string(repository().join("docs/reference/expressions.md")).unwrap();
    let of_one_message = ["context.", "message.", "properties."];
    let mut expressions = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```expr";
        } else if inside && !of_one_message.iter().any(|part| line.contains(part)) {
            expressions.push(line.to_string());
        }
    }
    expressions.retain(|text| !text.starts_with("total >"));
    expressions
}

/// Every form of the language that the reference's examples leave out, and what conversions stumble over.
const MORE: [&str; 34] = [
    "events.purchase.unique_hours_3d",
    "events.purchase.unique_days",
    "events.purchase.min_45d(total)",
    "events.purchase.max(price) - events.purchase.min(price)",
    "events.purchase.first(total)",
    "events.purchase.last_60d(total)",
    "events.purchase.top(category)",
    "events.purchase.top_30d(total)",
    "events.purchase.list(category)",
    "events.purchase.list_10d(sku)",
    "events.purchase.sessions(1h)",
    "events.purchase.first_seen_days_ago",
    "events.purchase.last_seen_hours_ago",
    "events.purchase.count_24h",
    "events.purchase.count_60m == events.purchase.count_1h",
    "events.purchase[total exists && price in (1, 2, 3)].sum(price)",
    "events.purchase[not (category == 'Books')].count_2w",
    "events.purchase[category starts_with 'B' or sku matches '^s[0-3]$'].count",
    "events.purchase.sum(total) / events.nothing.count",
    "events.purchase.avg(total) / 7 + 0.1 * 3 % 2",
    "events.nothing.list(x)",
    "events.nothing.last_seen_days_ago",
    "-profile.age",
    "abs(profile.age - 20) + floor(2.5) + ceil(2.5) + round(2.345, 2)",
    "length(profile.name) + length(profile.tags)",
    "upper(profile.name)",
    "profile.plan < 5 or profile.plan != 'pro'",
    "profile.tags",
    "profile.tags.1",
    "minutes_since(profile.signed_up_at)",
    "segment('vip') && !segment('churned')",
    "bucket('a')",
    "bucket('a', 7) + if(percentage('b', 50), 1, 0)",
    "coalesce(null, group.plan, profile.nothing, 1)",
];

/// People and what they did: every property that the reference mentions, of several types, at the edges of windows.
const PEOPLE: &str = r#"
SET cdp.clock = '2026-03-31 12:00:00Z';
INSERT INTO cdp.inbox (user_id, event, properties, "timestamp", message_id)
SELECT 'u' || n % 40, (ARRAY['app_open', 'Order Completed', 'purchase', 'page_view', 'api_call', 'login', 'refund', 'subscription.cancelled'])[1 + n % 8],
    jsonb_strip_nulls(jsonb_build_object('total', CASE WHEN n % 7 = 0 THEN to_jsonb('x'::text) ELSE to_jsonb(n % 300) END,
        'price', n % 40, 'sku', 's' || n % 9, 'ms', n % 500, 'coupon', CASE WHEN n % 3 = 0 THEN 'c' END,
        'category', (ARRAY['Books', 'Games', NULL])[1 + n % 3], 'item', jsonb_build_object('category', 'i' || n % 2))),
    '2026-03-31 12:00:00Z'::timestamptz - (n * n % 120) * interval '1 day' + (n % 3 - 1) * interval '1 microsecond', 'e' || n
FROM generate_series(1, 3000) AS n;
INSERT INTO cdp.inbox (type, user_id, traits, message_id)
SELECT 'identify', 'u' || n, jsonb_build_object('plan', (ARRAY['pro', 'team', 'free', 'trial'])[1 + n % 4], 'country', (ARRAY['DE', 'FR'])[1 + n % 2],
    'age', n, 'email', 'u' || n || '@example.com', 'tags', jsonb_build_array('beta', n), 'name', 'ÄNN' || n,
    'trial_started_at', '2026-03-' || 10 + n % 20, 'signed_up_at', '2026-03-01T00:00:00Z', 'ltv', n * 50), 'i' || n
FROM generate_series(0, 39, 2) AS n;
INSERT INTO cdp.inbox (type, user_id, group_id, traits, message_id)
SELECT 'group', 'u' || n, 'g' || n % 3, jsonb_build_object('plan', (ARRAY['free', 'pro'])[1 + n % 2]), 'g' || n FROM generate_series(0, 39, 3) AS n;
SELECT cdp.define_trait('power user', 'events.app_open.unique_days_14d >= 1');
SELECT cdp.define_trait('power_user', 'events.app_open.count > 5');
SELECT cdp.define_trait('ltv', 'events.purchase.sum(total)');
SELECT cdp.define_segment('churned', 'last_seen > 20d');
SELECT cdp.define_static_segment('vip', '{u1,u2,u3}');
"#;

#[test]
fn statements_mean_what_the_evaluator_does() {
    let cluster = Settings::new("compiled").preload("").start();
    cluster.create_database("app");
    cluster.execute("app", "CREATE EXTENSION cdp");
    let mut client = cluster.client("app");
    client.batch_execute(PEOPLE).unwrap();
    let (mut compared, mut left) = (0, Vec::new());
    let mut wrong = Vec::new();
    for text in expressions().into_iter().chain(MORE.map(str::to_string)) {
        // Names that the reference uses without saying what they are.
        if client
            .query_one("SELECT valid FROM cdp.validate($1)", &[&text])
            .unwrap()
            .get::<_, bool>(0)
        {
            let row = client
                .query_one(
                    "SELECT count(v.profile_id), count(*) FILTER (WHERE v.profile_id IS NOT NULL AND v.value IS DISTINCT FROM \
                         cdp.evaluate(p.profile_id::text, $1)) \
                     FROM cdp.people AS p LEFT JOIN _cdp.compiled_values($1) AS v USING (profile_id)",
                    &[&text],
                )
                .unwrap();
            match (row.get::<_, i64>(0), row.get::<_, i64>(1)) {
                (0, _) => left.push(text),
                (_, 0) => compared += 1,
                (of, different) => wrong.push(format!("{text}: {different} of {of}")),
            }
        } else {
            left.push(text);
        }
    }
    println!("{compared} compared, left to the evaluator: {left:#?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        compared > 60 && left.len() < 6,
        "{compared} compared, left: {left:#?}"
    );
}
