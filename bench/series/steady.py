"""A steady stream with vacuum on: does anything grow or slow down that should not?"""

import statistics
import time

from harness.data import Data
from series.ingest import prepared


def steady(server, report, quick):
    """A million events a minute in batches, or as many as the machine takes; a quarter of a minute in the quick cut."""
    seconds, batch, people = (15, 2_000, 20_000) if quick else (600, 5_000, 200_000)
    wanted = 1_000_000 / 60
    session = prepared(server, "steady")
    data = Data(server, "steady", session)
    session.run(data.make(1, people, people, only="inbox").inbox)
    session.run("TRUNCATE bench.payloads; VACUUM ANALYZE")
    # Without message ids the same texts can come again: each call makes new ones.
    session.run(
        f"""INSERT INTO bench.payloads SELECT k, (SELECT string_agg(json_build_object('type', 'track', 'userId', 'user_' || 1 + floor(random() * {people} + k * 0)::int,
            'event', (ARRAY['view', 'view', 'click', 'login', 'order'])[1 + floor(random() * 5)::int],
            'properties', json_build_object('total', (random() * 1000)::int, 'path', '/p/' || n % 50))::text, E'\\n') FROM generate_series(1, {batch}) AS n)
            FROM generate_series(0, 19) AS k"""
    )
    taken, behind = [], 0.0
    start = time.perf_counter()
    number = 0
    while (now := time.perf_counter() - start) < seconds:
        due = number * batch / wanted
        if due > now:
            time.sleep(due - now)
        behind = max(behind, now - due)
        taken.append((now, session.seconds(f"SELECT count(*) FROM cdp.ingest((SELECT body FROM bench.payloads WHERE id = {number % 20}))")))
        number += 1
    total = time.perf_counter() - start
    parts = 6
    windows = [[t for at, t in taken if part <= at / seconds * parts < part + 1] for part in range(parts)]
    line = [(round((part + 1) * seconds / parts), statistics.median(window) * 1000) for part, window in enumerate(windows) if window]
    dead = session.value("SELECT round(100.0 * n_dead_tup / greatest(n_live_tup, 1)) FROM pg_stat_user_tables WHERE relid = '_cdp.profiles'::regclass")
    report.curve(
        "steady", f"Batches of {batch:,}, wanted: 1,000,000 events a minute", "seconds into the run", "ms a batch",
        {"median of a sixth of the run": line},
        {
            "events a minute": number * batch / total * 60,
            "slowest batch, in ms": max(t for _, t in taken) * 1000,
            "most behind the wanted rate, in s": behind,
            "last sixth against the first": line[-1][1] / line[0][1],
            "dead rows of profiles at the end, in % of the live ones": dead,
        },
        logarithmic=False,
    )
    session.close()


SERIES = [steady]
