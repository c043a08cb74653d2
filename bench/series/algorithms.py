"""One event for a person with a history: cdp beside the algorithms that people write themselves."""

from harness.data import SQL, Data
from harness.measure import Comparison, Contestant

PEERS = SQL.parent / "peers"
CALL = "'{\"total\": 12.5, \"path\": \"/p/7\", \"sku\": \"6512bd43d9caa6e02c990b0a82652dca\"}'"
NAMES = "(ARRAY['view', 'view', 'click', 'login', 'order'])[1 + n % 5]"


def history(session, people, events):
    """Gives `people` persons `events` events each over the last hundred days, in cdp and in the peers' tables."""
    of_person = (
        f"SELECT p, {NAMES} AS event, now() - interval '100 days' * n / {events + 1} AS at, "
        f"{CALL}::jsonb AS properties FROM generate_series(1, {people}) AS p, generate_series(1, {events}) AS n"
    )
    session.run(
        f"""INSERT INTO peer.people (user_id) SELECT 'user_' || p FROM generate_series(1, {people}) AS p;
        INSERT INTO peer.events (person_id, event, at, properties)
            SELECT person_id, event, at, properties FROM ({of_person}) AS e JOIN peer.people ON user_id = 'user_' || p;
        INSERT INTO cdp.inbox (user_id, event, properties, "timestamp") SELECT 'user_' || p, event, properties, at FROM ({of_person}) AS e;
        VACUUM ANALYZE"""
    )


def prepared(server, database):
    server.database(database)
    session = server.session(database)
    session.run((SQL / "definitions.sql").read_text())
    for name in ("tables", "recount", "rewrite", "read_time"):
        session.run((PEERS / f"{name}.sql").read_text())
    return session


def by_history(server, report, quick):
    """Cost of one event (calls in one transaction: no commit is counted) against the length of the person's history."""
    people = 20
    lines = {}
    for events in [100, 1_000, 10_000] if quick else [100, 1_000, 10_000, 100_000]:
        session = prepared(server, "history")
        history(session, people, events)
        calls = 200

        def once(name, call, count=calls, session=session):
            sql = f"SELECT count({call}) FROM generate_series(1, %s) AS n"

            def run(number):
                # The slow ones do fewer calls: the time of one is what counts.
                times = max(10, count // 20) if number < 0 else count
                return session.busy_seconds(sql.replace('%s', str(times))) / times * 1e6

            return Contestant(name, run)

        who = f"'user_' || 1 + n % {people}, {NAMES}, {CALL}"
        few = 20 if events >= 10_000 else calls
        comparison = Comparison(
            f"One event for a person with {events:,} events", "µs of processor time",
            [
                once("cdp.track", f"cdp.track({who})"),
                once("competent rewrite", f"(peer.rewrite({who})::text)", few),
                once("recount", f"(peer.recount({who})::text)", few),
            ],
        ).run(3 if quick else 7, warm=True)
        report.add(f"history-{events}", comparison)
        for contestant in comparison.contestants:
            lines.setdefault(contestant.name, []).append((events, contestant.median))
        session.close()
    ours = dict(lines["cdp.track"])
    report.curve(
        "history", "One event against the person's history", "events of the person", "µs of processor time", lines,
        {"cdp.track, longest against shortest history (target <= 1.2)": max(ours.items())[1] / min(ours.items())[1]},
    )


def membership(server, report, quick):
    """Whether somebody is in a segment: asked of cdp, of a query over the events, of a materialised view."""
    people, events = (2_000, 50) if quick else (20_000, 100)
    session = prepared(server, "membership")
    history(session, people, events)
    session.run("REFRESH MATERIALIZED VIEW peer.refreshed")
    who = f"\\set person random(1, {people})\n"
    seconds = 2 if quick else 10

    def once(name, script):
        return Contestant(name, lambda _: server.pgbench("membership", who + script, seconds)[0])

    comparison = Comparison(
        f"In a segment? {people:,} people with {events} events each", "answers/s",
        [
            once("cdp.in_segment (exact now)", "SELECT cdp.in_segment('user_' || :person, 'segment_5');"),
            once("SQL over the events (exact now)", "SELECT peer.segment_at_read('user_' || :person, 5);"),
            once(
                "materialised view (up to a minute old)",
                "SELECT week >= 5 FROM peer.refreshed WHERE event = 'view' AND person_id = (SELECT person_id FROM peer.people WHERE user_id = 'user_' || :person);",
            ),
        ],
    ).run(3)
    comparison.notes = {"one refresh of the materialised view, in s": session.seconds("REFRESH MATERIALIZED VIEW CONCURRENTLY peer.refreshed")}
    report.add("membership", comparison)
    session.close()


SERIES = [by_history, membership]
