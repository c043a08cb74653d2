"""Batches and single calls against the floor: a bare COPY and a plain INSERT into the same table."""

from harness.data import SQL, Data
from harness.measure import Comparison, Contestant, percentile

NAMES = {"floor": "bare COPY", "inbox": "COPY cdp.inbox", "ingest": "cdp.ingest(text)"}


def prepared(server, database):
    """A database with the definitions of this series."""
    server.database(database)
    session = server.session(database)
    session.run((SQL / "definitions.sql").read_text())
    return session


def batches(server, report, quick):
    """All stages on, one connection: COPY into the inbox and cdp.ingest(text) against a bare COPY."""
    sizes = [10_000] if quick else [1, 10, 100, 1_000, 10_000, 100_000]
    session = prepared(server, "ingest")
    data = Data(server, "ingest", session)
    people = 10_000 if quick else 100_000
    # Everybody is known before the clock runs.
    everybody = data.make(1, people * 2, people, only="inbox")
    session.run(everybody.inbox)
    data.remove(everybody)
    session.run("VACUUM ANALYZE")
    lines = {"bare COPY": [], "COPY cdp.inbox": [], "cdp.ingest(text)": []}
    seed = 2
    for size in sizes:
        events = min(max(size * 20, 200), 100_000) if not quick else 20_000
        rounds, busy = {}, {}

        def once(kind, events=events, size=size, rounds=rounds, busy=busy):
            def run(number):
                nonlocal seed
                if number not in rounds:
                    # The texts get other message ids than the rows of the inbox: both are new.
                    rounds[number] = seed
                    seed += 2
                made = data.make(rounds[number] + (kind == "ingest"), events, people, size, kind)
                before = session.processor_seconds()
                taken = session.seconds(getattr(made, kind))
                busy.setdefault(NAMES[kind], []).append((session.processor_seconds() - before) / events * 1e6)
                data.remove(made)
                return events / taken

            return Contestant(NAMES[kind], run)

        comparison = Comparison(
            f"Batches of {size:,}", "events/s", [once("floor"), once("inbox"), once("ingest")],
            target={"COPY cdp.inbox": (">=", 0.40), "cdp.ingest(text)": (">=", 0.40)} if size >= 1_000 else {},
        ).run(5)
        report.add(f"ingest-batch-{size}", comparison)
        # What other programs on the machine take does not count here.
        report.add(
            f"ingest-batch-{size}-processor",
            Comparison(f"The same: processor time of the backend, batches of {size:,}", "µs an event",
                       [Contestant(name, None, samples) for name, samples in busy.items()]),
        )
        for contestant in comparison.contestants:
            lines[contestant.name].append((size, contestant.median))
    if not quick:
        report.curve("ingest-batch-sizes", "Ingest by batch size, one connection", "events a batch", "events/s", lines)
    session.close()


INSERT_ONE = r"""
\set person random(1, :people)
\set name random(1, 5)
INSERT INTO bench.floor (profile_id, ts, received_at, namespace_id, event_name_id, type, message_id, user_id, properties)
VALUES (:person, now(), now(), 1, :name, 0, gen_random_uuid()::text, 'user_' || :person,
        '{"total": 12.5, "path": "/p/7", "sku": "6512bd43d9caa6e02c990b0a82652dca"}');
"""
TRACK_ONE = r"""
\set person random(1, :people)
\set name random(1, 5)
SELECT cdp.track('user_' || :person, (ARRAY['view', 'click', 'login', 'order', 'other'])[:name],
                 '{"total": 12.5, "path": "/p/7", "sku": "6512bd43d9caa6e02c990b0a82652dca"}');
"""


def single_calls(server, report, quick):
    """One call, one transaction: cdp.track against a one-row INSERT, both durable."""
    people = 10_000
    session = prepared(server, "single")
    data = Data(server, "single", session)
    session.run(data.make(1, people * 2, people, only="inbox").inbox)
    session.run("VACUUM ANALYZE; CHECKPOINT")
    seconds = 3 if quick else 15
    for clients in [1] if quick else [1, 2, 4, 8]:
        tail = {}

        def once(name, script, clients=clients, tail=tail):
            def run(_):
                tps, latencies = server.pgbench("single", script, seconds, clients, {"people": people})
                tail.setdefault(name, []).append(percentile(latencies, 0.99))
                return tps

            return Contestant(name, run)

        comparison = Comparison(
            f"Single calls, {clients} client{'s' if clients > 1 else ''}", "calls/s",
            [once("one-row INSERT", INSERT_ONE), once("cdp.track", TRACK_ONE)],
            target={"cdp.track": (">=", 0.40)},
        ).run(5 if quick else 7)
        comparison.notes = {f"{name}: p99 in ms, median of the rounds": sorted(p)[len(p) // 2] for name, p in tail.items()}
        report.add(f"ingest-single-{clients}", comparison)
    session.close()


SERIES = [batches, single_calls]
