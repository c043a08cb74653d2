"""What definitions cost an event: those it does not touch, and those it does; backfilling a new one."""

import contextlib

from harness.data import SQL
from harness.measure import Comparison, Contestant

PROPERTIES = "'{\"total\": 12.5, \"path\": \"/p/7\"}'"


def untouched(server, report, quick):
    """One event against the number of traits, segments and routes about other events."""
    lines = {"cdp.track": []}
    calls, people = 400, 50
    for number in [10, 100, 1_000] if quick else [3, 10, 30, 100, 300, 1_000]:
        server.database("untouched")
        with server.session("untouched") as session:
            session.run(
                f"""SELECT cdp.define_trait('views', 'events.view.count_7d'), cdp.define_segment('viewers', 'views >= 3');
                SELECT count(cdp.define_trait('other_' || n, format('events.other_%s.count_7d', n))) FROM generate_series(1, {number}) AS n;
                SELECT count(cdp.define_segment('others_' || n, format('other_%s >= 3', n))) FROM generate_series(1, {number}) AS n;
                """
            )
            sql = f"SELECT count(cdp.track('user_' || n % {people}, 'view', {PROPERTIES})) FROM generate_series(1, {calls}) AS n"
            comparison = Comparison(
                f"One event, {number:,} traits and {number:,} segments it does not touch", "µs of processor time",
                [Contestant("cdp.track", lambda _, session=session, sql=sql: session.busy_seconds(sql) / calls * 1e6)],
            ).run(5, warm=True)
            report.add(f"untouched-{number}", comparison)
            lines["cdp.track"].append((number, comparison.contestants[0].median))
    times = [time for _, time in lines["cdp.track"]]
    report.curve("untouched", "One event against definitions it does not touch", "traits and segments", "µs of processor time", lines,
                 {"most against fewest (target <= 1.2)": times[-1] / times[0]})


def touched(server, report, quick):
    """One event against the number of traits and segments that it does touch."""
    lines = {"cdp.track": []}
    calls, people = 200, 50
    for number in [3, 10, 30] if quick else [3, 10, 30, 100, 300, 1_000]:
        server.database("touched")
        with server.session("touched") as session:
            session.run(
                f"""SELECT count(cdp.define_trait('count_' || n, format('events.view.count_%sd', n))) FROM generate_series(1, {number}) AS n;
                SELECT count(cdp.define_segment('s_' || n, format('count_%s >= %s', n, n * 3))) FROM generate_series(1, {number}) AS n;"""
            )
            sql = f"SELECT count(cdp.track('user_' || n % {people}, 'view', {PROPERTIES})) FROM generate_series(1, {calls}) AS n"
            comparison = Comparison(
                f"One event, {number:,} traits and {number:,} segments it touches", "µs of processor time",
                [Contestant("cdp.track", lambda _, session=session, sql=sql: session.busy_seconds(sql) / calls * 1e6)],
            ).run(5, warm=True)
            report.add(f"touched-{number}", comparison)
            lines["cdp.track"].append((number, comparison.contestants[0].median))
    report.curve("touched", "One event against definitions it touches", "traits and segments", "µs of processor time", lines)


def routes(server, report, quick):
    """One event against the number of routes: those for other events, and those whose filter has to be tried."""
    lines = {}
    calls, people = 400, 50
    sql = f"SELECT count(cdp.track('user_' || n % {people}, 'view', {PROPERTIES})) FROM generate_series(1, {calls}) AS n"
    kinds = {
        "for other events": "ARRAY['other_' || n]",
        "for the event, with a filter that refuses it": "ARRAY['view'], format('total > %s', 100 + n)",
    }
    with contextlib.ExitStack() as sessions:
        opened = {}
        for position, name in enumerate(kinds):
            server.database(f"routes_{position}")
            opened[name] = sessions.enter_context(server.session(f"routes_{position}"))
            opened[name].run(
                """SELECT cdp.define_trait('views', 'events.view.count_7d'), cdp.define_segment('viewers', 'views >= 3');
                SELECT cdp.define_destination('bench', 'webhook', '{"url": "https://bench.invalid/"}');
                SELECT cdp.pause_destination('bench', 'benchmark')"""
            )
        before = 0
        for number in [3, 30, 300] if quick else [3, 10, 30, 100, 300, 1_000]:
            for name, session in opened.items():
                session.run(f"SELECT count(cdp.define_route('bench', {kinds[name]})) FROM generate_series({before + 1}, {number}) AS n")
            before = number
            comparison = Comparison(
                f"One event, {number:,} routes", "µs of processor time",
                [Contestant(name, lambda _, session=session: session.busy_seconds(sql) / calls * 1e6) for name, session in opened.items()],
            ).run(5, warm=True)
            report.add(f"routes-{number}", comparison)
            for contestant in comparison.contestants:
                lines.setdefault(contestant.name, []).append((number, contestant.median))
    report.curve(
        "routes", "One event against routes", "routes", "µs of processor time", lines,
        {f"{name}, most against fewest": points[-1][1] / points[0][1] for name, points in lines.items()},
    )


def backfill(server, report, quick):
    """A new trait over history that is there, against the GROUP BY that computes the same."""
    people, events = (2_000, 50) if quick else (10_000, 100)
    server.database("backfill")
    with server.session("backfill") as session:
        session.run((SQL / "data.sql").read_text())
        session.run(
            f"""INSERT INTO cdp.inbox (user_id, event, properties, "timestamp")
                SELECT 'user_' || p, 'view', jsonb_build_object('total', n), now() - interval '60 days' * n / {events}
                FROM generate_series(1, {people}) AS p, generate_series(1, {events}) AS n;
            VACUUM ANALYZE; SET cdp.backfill_in_call = 10000000"""
        )
        comparison = Comparison(
            f"A new trait for {people:,} people with {events} events each", "s",
            [
                Contestant("GROUP BY", lambda _: session.seconds(
                    "CREATE TEMP TABLE computed AS SELECT profile_id, sum((properties->>'total')::numeric) AS value FROM _cdp.events "
                    "WHERE ts >= now() - interval '30 days' AND event_name_id = (SELECT event_name_id FROM _cdp.event_names WHERE name = 'view') "
                    "GROUP BY profile_id; DROP TABLE computed")),
                # Another window each time: no slot that is there answers it.
                Contestant("cdp.define_trait", lambda n: session.seconds(f"SELECT cdp.define_trait('sum_{n}', 'events.view[total != {-n}].sum_{20 + n}d(total)')")),
            ],
            target={"cdp.define_trait": ("<=", 2.0)},
        ).run(3)
        report.add("backfill", comparison)


SERIES = [untouched, touched, routes, backfill]
