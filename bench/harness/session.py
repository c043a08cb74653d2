"""A psql that stays connected, so that a measurement is one round trip and not a connection."""

import subprocess
import time

MARK = "-- done --"


class Session:
    """One backend. Statements run one after the other; an error ends it and is raised here."""

    def __init__(self, server, database):
        self.process = subprocess.Popen(
            [server.program("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", *server.address(database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=server.environment,
        )
        self.backend = None
        self.run("SET client_min_messages = error; SET jit = off")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, sql):
        """Runs SQL or psql commands; returns the lines that were printed."""
        try:
            self.process.stdin.write(f"{sql.rstrip().rstrip(';')}\n;\n\\echo {MARK}\n" if not sql.startswith("\\") else f"{sql}\n\\echo {MARK}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        lines = []
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"{sql[:400]}\n{self.process.stderr.read()}")
            line = line.rstrip("\n")
            if line == MARK:
                return lines
            lines.append(line)

    def value(self, sql):
        """The first value of the first row."""
        lines = self.run(sql)
        return lines[0] if lines else None

    def number(self, sql):
        return float(self.value(sql))

    def seconds(self, sql):
        """How long SQL takes, its round trip included."""
        start = time.perf_counter()
        self.run(sql)
        return time.perf_counter() - start

    def processor_seconds(self):
        """Time that the backend has spent on a processor; it does not count waiting for one."""
        if self.backend is None:
            self.backend = self.value("SELECT pg_backend_pid()")
        with open(f"/proc/{self.backend}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0]) / 1e9

    def busy_seconds(self, sql):
        """Processor time that the backend spends on SQL."""
        before = self.processor_seconds()
        self.run(sql)
        return self.processor_seconds() - before

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
