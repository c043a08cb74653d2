"""What tables hold, and what became of their rows, from Postgres' statistics."""

from dataclasses import dataclass


@dataclass
class Rows:
    """Counts of one table since its database was made, but for `dead`, which is what waits for vacuum now."""

    written: int
    updated: int
    updated_in_place: int
    dead: int

    def since(self, before):
        return Rows(
            self.written - before.written, self.updated - before.updated,
            self.updated_in_place - before.updated_in_place, self.dead - before.dead,
        )


def rows(session):
    """The rows of cdp's tables, partitions under the name of their table."""
    session.run("SELECT pg_stat_force_next_flush()")
    session.run("SELECT pg_stat_clear_snapshot()")
    found = session.run(
        """SELECT coalesce(p.relname, s.relname), sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del), sum(s.n_tup_upd), sum(s.n_tup_hot_upd),
               sum(s.n_dead_tup)
        FROM pg_stat_user_tables AS s LEFT JOIN pg_inherits AS i ON i.inhrelid = s.relid LEFT JOIN pg_class AS p ON p.oid = i.inhparent
        WHERE s.schemaname = '_cdp' GROUP BY 1"""
    )
    return {line.split("|")[0]: Rows(*map(int, line.split("|")[1:])) for line in found}


def megabytes(session):
    """Disk of cdp's tables with their indexes, partitions under the name of their table."""
    found = session.run(
        """SELECT coalesce(p.relname, c.relname), sum(pg_total_relation_size(c.oid))
        FROM pg_class AS c LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid LEFT JOIN pg_class AS p ON p.oid = i.inhparent
        WHERE c.relnamespace = '_cdp'::regnamespace AND c.relkind = 'r' GROUP BY 1"""
    )
    return {line.split("|")[0]: int(line.split("|")[1]) / 1e6 for line in found}


def without_autovacuum(session):
    """Stops autovacuum in the whole server, so that what dies stays to be counted; `with_autovacuum` ends it."""
    session.run("ALTER SYSTEM SET autovacuum = off")
    session.run("SELECT pg_reload_conf()")


def with_autovacuum(session):
    session.run("ALTER SYSTEM RESET autovacuum")
    session.run("SELECT pg_reload_conf()")
