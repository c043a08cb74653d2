"""One event for a person with a history: cdp beside the algorithms that people write themselves."""

from harness.data import SQL, Data
from harness.measure import Comparison, Contestant

PEERS = SQL.parent / "peers"
CALL = "'{\"total\": 12.5, \"path\": \"/p/7\", \"sku\": \"6512bd43d9caa6e02c990b0a82652dca\"}'"
NAMES = "(ARRAY['view', 'view', 'click', 'login', 'order'])[1 + n % 5]"


# As many events as go into one statement: enough to be quick, few enough to be kept in memory.
BLOCK = 100_000


def history(session, people, events):
    """Gives `people` persons `events` events each over the last hundred days, the oldest first, in cdp and in the
    peers' tables."""
    session.run(f"INSERT INTO peer.people (user_id) SELECT 'user_' || p FROM generate_series(1, {people}) AS p")
    step = max(1, BLOCK // people)
    for first in range(1, events + 1, step):
        last = min(first + step - 1, events)
        block = (
            f"SELECT p, {NAMES} AS event, now() - interval '100 days' * ({events} + 1 - n) / {events + 1} AS at, {CALL}::jsonb AS properties "
            f"FROM generate_series(1, {people}) AS p, generate_series({first}, {last}) AS n"
        )
        session.run(
            f"""INSERT INTO peer.events (person_id, event, at, properties)
                SELECT person_id, event, at, properties FROM ({block}) AS e JOIN peer.people ON user_id = 'user_' || p;
            INSERT INTO cdp.inbox (user_id, event, properties, "timestamp") SELECT 'user_' || p, event, properties, at FROM ({block}) AS e"""
        )
    session.run("VACUUM ANALYZE; CHECKPOINT")


def prepared(server, database):
    server.database(database)
    session = server.session(database)
    session.run((SQL / "definitions.sql").read_text())
    for name in ("tables", "recount", "rewrite", "read_time"):
        session.run((PEERS / f"{name}.sql").read_text())
    return session


# Events of a person, and how many calls of the peers a round has: those that read the history take long.
HISTORIES = {100: 40, 1_000: 40, 10_000: 20, 100_000: 4, 1_000_000: 1}


def by_history(server, report, quick):
    """Cost of one event against the length of the person's history."""
    # Few people and few calls in a transaction: the row of a person gets a version with each.
    people, transactions = 4, 5
    lines = {}
    for events, few in list(HISTORIES.items())[: 4 if quick else 5]:
        session = prepared(server, "history")
        history(session, people, events)

        def once(name, call, calls, transactions, session=session):
            sql = f"SELECT count({call}) FROM generate_series(1, {calls}) AS n"

            def run(_):
                return sum(session.busy_seconds(sql) for _ in range(transactions)) / (calls * transactions) * 1e6

            return Contestant(name, run)

        who = f"'user_' || 1 + n % {people}, {NAMES}, {CALL}"
        comparison = Comparison(
            f"One event for a person with {events:,} events", "µs of processor time",
            [
                once("cdp.track", f"cdp.track({who})", 40, transactions),
                once("competent rewrite", f"(peer.rewrite({who})::text)", few, 1),
                once("recount", f"(peer.recount({who})::text)", few, 1),
            ],
        ).run(3 if quick else 5, warm=True)
        report.add(f"history-{events}", comparison)
        for contestant in comparison.contestants:
            lines.setdefault(contestant.name, []).append((events, contestant.median))
        session.close()
    ours = dict(lines["cdp.track"])
    shortest, longest = min(ours), max(ours)
    report.curve(
        "history", "One event against the person's history", "events of the person", "µs of processor time", lines,
        {
            f"cdp.track, {longest:,} events against {shortest:,} (target <= 1.2)": ours[longest] / ours[shortest],
            f"cdp.track, {longest:,} events against 1,000": ours[longest] / ours[1_000],
        },
    )


def membership(server, report, quick):
    """Whether somebody is in a segment: asked of cdp, of a query over the events, of a materialised view."""
    people, events = (2_000, 50) if quick else (10_000, 100)
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
