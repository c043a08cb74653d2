"""Batches and single calls against the floor: a bare COPY and a plain INSERT into the same table."""

import itertools

from harness.data import SQL, Data
from harness.measure import Comparison, Contestant, percentile

NAMES = {"floor": "bare COPY", "inbox": "COPY cdp.inbox", "ingest": "cdp.ingest(text)"}


def prepared(server, database):
    """A database with the definitions of this series."""
    server.database(database)
    session = server.session(database)
    session.run((SQL / "definitions.sql").read_text())
    return session


class Batches:
    """Rounds of events in batches of one size, by people drawn evenly from some."""

    def __init__(self, session, data, seeds):
        self.session, self.data, self.seeds = session, data, seeds

    def compare(self, report, key, title, events, size, people, has_target):
        rounds, busy = {}, {}

        def contestant(kind):
            def once(number):
                # The texts get other message ids than the rows of the inbox: both are new.
                seed = rounds.setdefault(number, next(self.seeds)) * 2 + (kind == "ingest")
                made = self.data.make(seed, events, people, size, kind)
                before = self.session.processor_seconds()
                taken = self.session.seconds(getattr(made, kind))
                busy.setdefault(NAMES[kind], []).append((self.session.processor_seconds() - before) / events * 1e6)
                self.data.remove(made)
                return events / taken

            return Contestant(NAMES[kind], once)

        target = {NAMES["inbox"]: (">=", 0.40), NAMES["ingest"]: (">=", 0.40)} if has_target else {}
        comparison = Comparison(title, "events/s", [contestant(kind) for kind in NAMES], target).run(5)
        report.add(key, comparison)
        # What other programs on the machine take does not count here.
        processor = [Contestant(name, None, samples) for name, samples in busy.items()]
        report.add(f"{key}-processor", Comparison(f"{title}: processor time of the backend", "µs an event", processor))
        return {contestant.name: contestant.median for contestant in comparison.contestants}


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
    measured = Batches(session, data, itertools.count(2))
    lines = {name: [] for name in NAMES.values()}
    for size in sizes:
        events = 20_000 if quick else min(max(size * 20, 200), 100_000)
        medians = measured.compare(report, f"ingest-batch-{size}", f"Batches of {size:,}", events, size, people, size >= 1_000)
        for name, median in medians.items():
            lines[name].append((size, median))
    events = 20_000 if quick else 100_000
    measured.compare(report, "ingest-few", "Batches of 10,000 by 500 people, each of them twenty times", events, 10_000, 500, True)
    measured.compare(report, "ingest-hot", "Batches of 10,000, all by one person", events, 10_000, 1, True)
    if not quick:
        report.curve("ingest-batch-sizes", "Ingest by batch size, one connection", "events a batch", "events/s", lines)
    session.close()


def clients(server, report, quick):
    """The same batches of 1,000 by several connections at once; INSERT … SELECT instead of COPY, which pgbench cannot."""
    size, kept = 1_000, 50
    session = prepared(server, "clients")
    data = Data(server, "clients", session)
    people = 10_000 if quick else 100_000
    session.run(data.make(1, people * 2, people, only="inbox").inbox)
    # Texts without message ids can come again: each call makes new ones.
    data.make(2, size * kept, people, size, only="ingest")
    session.run("""UPDATE bench.payloads SET body = regexp_replace(body, ', ?"messageId" ?: ?"[^"]*"', '', 'g'); CREATE INDEX ON bench.raw (n); VACUUM ANALYZE""")
    choose = f"\\set n random(0, {kept - 1})\n"
    floor = f"""INSERT INTO bench.floor (profile_id, ts, received_at, namespace_id, event_name_id, type, message_id, user_id, properties)
        SELECT person, ts, now(), 1, array_position(ARRAY['view', 'click', 'login', 'order', 'other'], event), 0, message_id, 'user_' || person, properties
        FROM bench.raw WHERE n > :n * {size} AND n <= (:n + 1) * {size};""".replace("\n", " ")
    ingest = "SELECT count(*) FROM cdp.ingest((SELECT body FROM bench.payloads WHERE id = :n));"
    lines = {}
    for count in [1, 4] if quick else [1, 2, 4, 8]:
        comparison = Comparison(
            f"Batches of {size:,}, {count} connection{'s' if count > 1 else ''}", "events/s",
            [
                Contestant(name, lambda _, script=script, count=count: server.pgbench("clients", choose + script, 3 if quick else 10, count)[0] * size)
                for name, script in (("INSERT … SELECT", floor), ("cdp.ingest(text)", ingest))
            ],
        ).run(3)
        report.add(f"ingest-clients-{count}", comparison)
        for contestant in comparison.contestants:
            lines.setdefault(contestant.name, []).append((count, contestant.median))
    report.curve("ingest-clients", f"Batches of {size:,} by connections", "connections", "events/s", lines)
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
    seconds = 3 if quick else 8
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
        ).run(5)
        comparison.notes = {f"{name}: p99 in ms, median of the rounds": sorted(p)[len(p) // 2] for name, p in tail.items()}
        report.add(f"ingest-single-{clients}", comparison)
    session.close()


SERIES = [batches, clients, single_calls]
