"""Work that no event of the person brings: windows that end, and people who turn out to be one."""

from harness.measure import Comparison, Contestant


def timers(server, report, quick):
    """Everybody's window ends in the same minute: how fast memberships follow."""
    people = 5_000 if quick else 100_000
    server.database("timers")
    with server.session("timers") as session:
        session.run(
            """SELECT cdp.define_trait('views', 'events.view.count_7d'), cdp.define_segment('active', 'views >= 1');
            CREATE TABLE bench.active (user_id text PRIMARY KEY, is_member boolean, last_seen timestamptz)"""
        )

        def expire(number):
            at = f"now() + interval '{number * 30} days'"
            session.run(f"SELECT set_config('cdp.clock', ({at})::text, false)")
            session.run(f"""INSERT INTO cdp.inbox (user_id, event) SELECT 'user_' || p, 'view' FROM generate_series(1, {people}) AS p""")
            session.run("VACUUM ANALYZE")
            session.run(f"SELECT set_config('cdp.clock', ({at} + interval '8 days')::text, false)")
            taken = session.seconds("SELECT cdp.run_due()")
            left = session.number("SELECT count(*) FROM cdp.members('active')")
            if left:
                raise RuntimeError(f"{left:.0f} of {people} people are still in the segment")
            return people / taken

        def update(_):
            session.run(f"""TRUNCATE bench.active; INSERT INTO bench.active SELECT 'user_' || p, true, now() FROM generate_series(1, {people}) AS p""")
            return people / session.seconds("UPDATE bench.active SET is_member = false WHERE last_seen < now() + interval '8 days'")

        comparison = Comparison(
            f"{people:,} windows that end in the same minute", "people/s",
            [Contestant("one UPDATE of a plain table", update), Contestant("cdp.run_due()", expire)],
        ).run(3)
        report.add("timers", comparison)


def merges(server, report, quick):
    """Two people with a history each become one, and are split again."""
    lines = {}
    for events, pairs in {100: 50, 10_000: 1}.items() if quick else {100: 500, 1_000: 50, 10_000: 5, 100_000: 1}.items():
        server.database("merges")
        with server.session("merges") as session:
            session.run(
                "SELECT cdp.define_trait('views', 'events.view.count_30d'), cdp.define_trait('spent', 'events.view.sum(total)'), "
                f"cdp.define_segment('many', 'views >= {events * 3 // 2}')"
            )
            comparison = Comparison(
                f"Merges of people with {events:,} events each", "ms a person",
                [Contestant("merge", merge(session, events, pairs)), Contestant("unmerge", unmerge(session, events, pairs))],
            ).run(3)
            report.add(f"merges-{events}", comparison)
            for contestant in comparison.contestants:
                lines.setdefault(contestant.name, []).append((events, contestant.median))
    report.curve("merges", "Merging two people and splitting them", "events of each", "ms a person", lines)


def make_pairs(session, events, pairs, name):
    """Pairs of an anonymous visitor and an account, with `events` events each over twenty days."""
    session.run(
        f"""INSERT INTO cdp.inbox (anonymous_id, user_id, event, properties, "timestamp")
        SELECT CASE WHEN half = 0 THEN 'a_{name}_' || p END, CASE WHEN half = 1 THEN 'u_{name}_' || p END, 'view', '{{"total": 1}}',
               now() - interval '20 days' * ({events} + 1 - n) / {events + 1}
        FROM generate_series(1, {pairs}) AS p, generate_series(0, 1) AS half, generate_series(1, {events}) AS n"""
    )
    session.run("VACUUM ANALYZE")


def join_pairs(pairs, name):
    return f"SELECT count(cdp.identify('u_{name}_' || p, '{{}}', 'a_{name}_' || p)) FROM generate_series(1, {pairs}) AS p"


def merge(session, events, pairs):
    def once(number):
        name = f"merge_{number}"
        make_pairs(session, events, pairs, name)
        return session.seconds(join_pairs(pairs, name)) / pairs * 1000

    return once


def unmerge(session, events, pairs):
    def once(number):
        name = f"unmerge_{number}"
        make_pairs(session, events, pairs, name)
        session.run(join_pairs(pairs, name))
        split = f"SELECT count(*) FROM generate_series(1, {pairs}) AS p, cdp.unmerge('u_{name}_' || p, 'a_{name}_' || p)"
        return session.seconds(split) / pairs * 1000

    return once


SERIES = [timers, merges]
