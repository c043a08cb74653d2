"""What an event leaves behind: WAL, rows, dead rows, disk; and what a backend holds."""

from pathlib import Path

from harness import stored
from harness.data import Data
from harness.measure import Comparison, Contestant
from series.ingest import prepared


def memory_mb(process):
    """Memory of the process itself, without the server's shared buffers."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


def wal_by_table(session, start, events):
    """Which tables, with their indexes, the WAL since `start` is about."""
    if session.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_walinspect'") == "0":
        return {}
    session.run("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
    lines = session.run(
        f"""SELECT coalesce(t.relname, 'other') || '|' || sum(w.record_length) / {events}.0
        FROM pg_get_wal_records_info_till_end_of_wal('{start}') AS w
        LEFT JOIN pg_class AS c ON c.relfilenode <> 0 AND c.relfilenode = substring(w.block_ref FROM 'rel [0-9]+/[0-9]+/([0-9]+)')::oid
        LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
        LEFT JOIN pg_class AS t ON t.oid = coalesce(i.indrelid, c.oid)
        GROUP BY t.relname HAVING sum(w.record_length) > {events} ORDER BY sum(w.record_length) DESC"""
    )
    return {f"WAL of an event, {name}": f"{float(size):.0f} bytes" for name, size in (line.split("|") for line in lines)}


def footprint(server, report, quick):
    """After a checkpoint's full pages are written: WAL and rows of the events alone."""
    events, people = (20_000, 10_000) if quick else (200_000, 50_000)
    session = prepared(server, "footprint")
    data = Data(server, "footprint", session)
    session.run(data.make(1, people * 2, people, only="inbox").inbox)
    session.run("VACUUM ANALYZE; CHECKPOINT")
    # Pages written in full once after the checkpoint are not the events' own cost.
    session.run(data.make(2, events, people, 10_000, "inbox").inbox)
    wal, process = {}, session.value("SELECT pg_backend_pid()")
    seeds = iter(range(10, 1000))

    def once(name, kind):
        def run(_):
            made = data.make(next(seeds), events, people, 10_000, kind)
            before = session.value("SELECT pg_current_wal_insert_lsn()")
            session.run(getattr(made, kind))
            data.remove(made)
            return session.number(f"SELECT pg_current_wal_insert_lsn() - '{before}'") / events

        return Contestant(name, run)

    comparison = Comparison("WAL of one event, batches of 10,000", "bytes", [once("bare COPY", "floor"), once("COPY cdp.inbox", "inbox"), once("cdp.ingest(text)", "ingest")]).run(3)
    made = data.make(next(seeds), events, people, 10_000, "inbox")
    stored.without_autovacuum(session)
    session.run("VACUUM")
    before = stored.rows(session)
    start = session.value("SELECT pg_current_wal_insert_lsn()")
    session.run(made.inbox)
    comparison.notes.update(wal_by_table(session, start, events))
    after = stored.rows(session)
    stored.with_autovacuum(session)
    for name, rows in after.items():
        grown = rows.since(before[name])
        if grown.written < events / 1000:
            continue
        note = f"{grown.written / events:.3f} rows written an event, {max(grown.dead, 0) / events:.3f} left dead for vacuum"
        if grown.updated:
            note += f", {grown.updated_in_place / grown.updated * 100:.0f} % of the updates on the same page without index entries"
        comparison.notes[name] = note
    total = session.number("SELECT count(*) FROM _cdp.events")
    for line in session.run(
        "SELECT c.relname || '|' || pg_total_relation_size(c.oid) || '|' || pg_indexes_size(c.oid) FROM pg_class AS c "
        "WHERE c.relnamespace = '_cdp'::regnamespace AND c.relkind = 'r' AND pg_total_relation_size(c.oid) > 500000 ORDER BY pg_total_relation_size(c.oid) DESC"
    ):
        name, size, indexes = line.split("|")
        comparison.notes[f"disk per million events, {name}"] = f"{int(size) / total:.0f} MB, of which indexes {int(indexes) / total:.0f} MB"
    comparison.notes["memory of the ingesting backend, without shared buffers"] = f"{memory_mb(process):.0f} MB"
    report.add("footprint", comparison)
    session.close()


SERIES = [footprint]
