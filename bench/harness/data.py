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

    def make(self, seed, events, people, batch=None, only=None):
        """Makes a round; `batch` is the number of events a call or COPY takes, `only` the one form that is needed."""
        batch = batch or events
        run = self.session.run
        run("TRUNCATE bench.raw, bench.payloads")
        run(f"INSERT INTO bench.raw SELECT {seed}, m.* FROM bench.make_events({seed}, {events}, {people}) AS m")
        files = {"floor": [], "inbox": []}
        for kind, query in (("floor", " ".join(_FLOOR.split())), ("inbox", _INBOX)):
            for first in range(0, events, batch) if only in (None, kind) else ():
                path = self.folder / f"{kind}.{seed}.{first}"
                run(f"\\copy ({query} WHERE n > {first} AND n <= {first + batch} ORDER BY n) TO '{path}'")
                files[kind].append(path)
        if only in (None, "ingest"):
            run(
                f"INSERT INTO bench.payloads SELECT (n - 1) / {batch}, string_agg({_MESSAGE}::text, E'\\n' ORDER BY n) "
                "FROM bench.raw GROUP BY 1"
            )
            run("VACUUM (ANALYZE) bench.payloads")
        return Round(files, -(-events // batch))

    def remove(self, made):
        for path in made.files["floor"] + made.files["inbox"]:
            path.unlink(missing_ok=True)


class Round:
    """Statements that bring the events of one round, one transaction a batch."""

    def __init__(self, files, batches):
        self.files = files
        self.floor = "\n".join(f"\\copy bench.floor ({FLOOR_COLUMNS}) FROM '{floor}'" for floor in files["floor"])
        self.inbox = "\n".join(f"\\copy cdp.inbox ({INBOX_COLUMNS}) FROM '{inbox}'" for inbox in files["inbox"])
        call = "SELECT count(*) FROM cdp.ingest((SELECT body FROM bench.payloads WHERE id = {}));"
        self.ingest = "\n".join(call.format(number) for number in range(batches))
