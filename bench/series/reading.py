"""Decisions against a read by primary key."""

from harness.measure import Comparison, Contestant, percentile


def decide(server, report, quick):
    """A flag over traits and a segment, asked over one connection by its prepared statement."""
    people = 2_000 if quick else 20_000
    server.database("decide")
    with server.session("decide") as session:
        session.run(
            f"""SELECT cdp.define_trait('views', 'events.view.count_7d'), cdp.define_trait('spent', 'events.order.sum(total)');
            SELECT cdp.define_segment('buyers', 'spent > 100');
            SELECT cdp.define_flag('offer', 'buyers && views >= 2');
            INSERT INTO cdp.inbox (user_id, event, properties) SELECT 'user_' || p, (ARRAY['view', 'order'])[1 + n % 2], '{{"total": 60}}'
                FROM generate_series(1, {people}) AS p, generate_series(1, 6) AS n;
            CREATE TABLE bench.people (user_id text PRIMARY KEY, allow boolean, variant text);
            INSERT INTO bench.people SELECT 'user_' || p, true, 'on' FROM generate_series(1, {people}) AS p; VACUUM ANALYZE"""
        )
    who = f"\\set person random(1, {people})\n"
    seconds = 3 if quick else 10
    tail = {}

    def once(name, script):
        def run(_):
            tps, latencies = server.pgbench("decide", who + script, seconds)
            tail.setdefault(name, []).append(percentile(latencies, 0.95))
            return tps

        return Contestant(name, run)

    comparison = Comparison(
        f"Decisions, warm, {people:,} people", "answers/s",
        [
            once("SELECT by primary key", "SELECT allow, variant FROM bench.people WHERE user_id = 'user_' || :person;"),
            once("cdp.decide", "SELECT allow, variant FROM cdp.decide('user_' || :person, 'offer');"),
        ],
        target={"cdp.decide": (">=", 0.5)},
    ).run(5)
    comparison.notes = {f"{name}: p95 in ms": sorted(p)[len(p) // 2] for name, p in tail.items()}

    def first(sql):
        def run(_):
            with server.session("decide") as fresh:
                return fresh.seconds(sql) * 1000
        return run

    cold = Comparison(
        "The first question of a connection", "ms",
        [
            Contestant("SELECT by primary key", first("SELECT allow, variant FROM bench.people WHERE user_id = 'user_7'")),
            Contestant("cdp.decide", first("SELECT allow, variant FROM cdp.decide('user_7', 'offer')")),
        ],
    ).run(7)
    report.add("decide", comparison)
    report.add("decide-cold", cold)


SERIES = [decide]
