"""The same events in every form in which a contestant takes them."""

from pathlib import Path

SQL = Path(__file__).resolve().parents[1] / "sql"

FLOOR_COLUMNS = "profile_id, ts, received_at, namespace_id, event_name_id, type, message_id, user_id, properties"
INBOX_COLUMNS = 'user_id, event, properties, "timestamp", message_id'

_FLOOR = """SELECT person, ts, now(), 1, array_position(ARRAY['view', 'click', 'login', 'order', 'other'], event), 0,
    message_id, 'user_' || person, properties FROM bench.raw"""
_INBOX = "SELECT 'user_' || person, event, properties, ts, message_id FROM bench.raw"
_MESSAGE = """json_build_object('type', 'track', 'userId', 'user_' || person, 'event', event, 'properties', properties,
    'timestamp', to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'messageId', message_id)"""


class Data:
    """Events of a round as files for COPY and as texts for cdp.ingest, in batches."""

    def __init__(self, server, database, session):
        self.server, self.database, self.session = server, database, session
        self.folder = server.folder / f"{database}-files"
        self.folder.mkdir(exist_ok=True)
        session.run((SQL / "data.sql").read_text())

    def make(self, seed, events, people, batch=None):
        """Makes a round; `batch` is the number of events a call or COPY takes."""
        batch = batch or events
        run = self.session.run
        run("TRUNCATE bench.raw, bench.payloads")
        run(f"INSERT INTO bench.raw SELECT {seed}, m.* FROM bench.make_events({seed}, {events}, {people}) AS m")
        batches = range(0, events, batch)
        names = []
        for number, first in enumerate(batches):
            chosen = f"WHERE n > {first} AND n <= {first + batch} ORDER BY n"
            floor, inbox = (self.folder / f"{kind}.{seed}.{batch}.{number}" for kind in ("floor", "inbox"))
            run(f"\\copy ({' '.join(_FLOOR.split())} {chosen}) TO '{floor}'")
            run(f"\\copy ({_INBOX} {chosen}) TO '{inbox}'")
            names.append((floor, inbox))
        run(
            f"INSERT INTO bench.payloads SELECT (n - 1) / {batch}, string_agg({_MESSAGE}::text, E'\\n' ORDER BY n) "
            "FROM bench.raw GROUP BY 1"
        )
        run("VACUUM (ANALYZE) bench.payloads")
        return Round(names, len(names))

    def remove(self, made):
        for pair in made.files:
            for path in pair:
                path.unlink(missing_ok=True)


class Round:
    """Statements that bring the events of one round, one transaction a batch."""

    def __init__(self, files, batches):
        self.files = files
        self.floor = "\n".join(f"\\copy bench.floor ({FLOOR_COLUMNS}) FROM '{floor}'" for floor, _ in files)
        self.inbox = "\n".join(f"\\copy cdp.inbox ({INBOX_COLUMNS}) FROM '{inbox}'" for _, inbox in files)
        call = "SELECT count(*) FROM cdp.ingest((SELECT body FROM bench.payloads WHERE id = {}));"
        self.ingest = "\n".join(call.format(number) for number in range(batches))
