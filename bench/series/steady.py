"""A steady stream with vacuum and the workers on: does anything grow or slow down that should not?"""

import shutil
import statistics
import time

from harness import stored
from harness.data import SQL
from harness.measure import percentile
from series.footprint import memory_mb
from series.ingest import prepared

# What an event leaves on disk for good, with room to spare, and the most that WAL takes.
EVENT_BYTES, WAL_BYTES = 500, 10e9
TENTHS = 10


def steady(server, report, quick):
    """A million events a minute in batches, or as many as the machine takes: a quarter of a minute in the quick cut,
    five minutes otherwise, an hour when asked for (`--hour`)."""
    seconds, batch, people = (15, 2_000, 20_000) if quick else (server.steady_seconds, 5_000, 200_000)
    wanted = 1_000_000 / 60
    needed, free = seconds * wanted * EVENT_BYTES + WAL_BYTES * min(1, seconds / 600), shutil.disk_usage(server.folder).free
    if free < needed:
        print(f"\nsteady: {seconds} s need {needed / 1e9:.0f} GB of disk and {free / 1e9:.0f} are free; left out", flush=True)
        return
    session = prepared(server, "steady")
    session.run((SQL / "data.sql").read_text())
    # Everybody is known before the clock runs.
    session.run(f"INSERT INTO cdp.inbox (user_id, event) SELECT 'user_' || p, 'other' FROM generate_series(1, {people}) AS p")
    session.run("VACUUM ANALYZE")
    # Without message ids the same texts can come again: each call makes new ones.
    session.run(
        f"""INSERT INTO bench.payloads SELECT k, (SELECT string_agg(json_build_object('type', 'track', 'userId', 'user_' || 1 + floor(random() * {people} + k * 0)::int,
            'event', (ARRAY['view', 'view', 'click', 'login', 'order'])[1 + floor(random() * 5)::int],
            'properties', json_build_object('total', (random() * 1000)::int, 'path', '/p/' || n % 50))::text, E'\\n') FROM generate_series(1, {batch}) AS n)
            FROM generate_series(0, 19) AS k"""
    )
    process = session.value("SELECT pg_backend_pid()")
    watcher = server.session("steady")
    taken, seen, behind, number = [], [watch(watcher, process, 0)], 0.0, 0
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < seconds:
        due = number * batch / wanted
        if due > now:
            time.sleep(due - now)
        behind = max(behind, now - due)
        if now >= len(seen) * seconds / TENTHS:
            seen.append(watch(watcher, process, now))
        taken.append((now, session.seconds(f"SELECT count(*) FROM cdp.ingest((SELECT body FROM bench.payloads WHERE id = {number % 20}))")))
        number += 1
    total = time.perf_counter() - start
    seen.append(watch(watcher, process, total))
    tell(report, session, f"Batches of {batch:,}, wanted: 1,000,000 events a minute", seconds, taken, seen, {
        "events": number * batch,
        "events a minute": number * batch / total * 60,
        "most behind the wanted rate, in s": behind,
    })
    watcher.close()
    session.close()


def watch(session, process, at):
    """What has grown by now."""
    rows, sizes = stored.rows(session), stored.megabytes(session)
    return {
        "at": round(at),
        "MB": sizes,
        "dead": {name: table.dead for name, table in rows.items()},
        "events": rows["events"].written,
        "memory": memory_mb(process),
    }


def tell(report, session, title, seconds, taken, seen, notes):
    tenths = [sorted(t * 1000 for at, t in taken if part <= at / seconds * TENTHS < part + 1) for part in range(TENTHS)]
    ends = [round((part + 1) * seconds / TENTHS) for part in range(TENTHS)]
    median = [(end, statistics.median(tenth)) for end, tenth in zip(ends, tenths) if tenth]
    slow = [(end, percentile(tenth, 0.99)) for end, tenth in zip(ends, tenths) if tenth]
    report.curve(
        "steady", title, "seconds into the run", "ms a batch", {"median of a tenth of the run": median, "p99 of a tenth": slow},
        {
            **notes,
            "slowest batch, in ms": max(t for _, t in taken) * 1000,
            "median of the last tenth against the first": median[-1][1] / median[0][1],
            "p99 of the last tenth against the first": slow[-1][1] / slow[0][1],
            "memory of the backend at the start and at the end, in MB": f"{seen[0]['memory']:.0f}, {seen[-1]['memory']:.0f}",
        },
        logarithmic=False,
    )
    first, middle, last = seen[0], seen[len(seen) // 2], seen[-1]
    tables = sorted(last["MB"], key=last["MB"].get, reverse=True)[:6]
    grown = {
        f"{name}, bytes an event in each half of the run":
            ", ".join(f"{(b['MB'][name] - a['MB'][name]) * 1e6 / max(b['events'] - a['events'], 1):.0f}" for a, b in ((first, middle), (middle, last)))
        for name in tables
    }
    vacuums = session.run(
        "SELECT relname || '|' || autovacuum_count FROM pg_stat_user_tables WHERE schemaname = '_cdp' AND autovacuum_count > 0 ORDER BY autovacuum_count DESC LIMIT 6"
    )
    report.curve(
        "steady-tables", "What grows", "seconds into the run", "MB on disk; rows",
        {
            **{f"{name}, MB": [(then["at"], then["MB"][name]) for then in seen] for name in tables},
            **{f"{name}, dead rows": [(then["at"], then["dead"].get(name, 0)) for then in seen] for name in ("profiles", "segment_members", "timers")},
        },
        {**grown, "runs of autovacuum": ", ".join(line.replace("|", " ") for line in vacuums) or "none"},
        logarithmic=False,
    )


SERIES = [steady]
