"""A Postgres server that lives as long as the benchmark."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .session import Session

# What a careful owner would set on a small machine. Everything else is Postgres' default; in particular
# fsync, synchronous_commit and full_page_writes are on.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "max_connections": "60",
    "max_worker_processes": "16",
    "timezone": "UTC",
    "jit": "off",
    "listen_addresses": "",
    "shared_preload_libraries": "cdp,pg_stat_statements",
    "pg_stat_statements.track": "all",
    "cdp.http_allow_hosts": "127.0.0.1",
}


class Server:
    """Made by initdb in a temporary folder, stopped and removed at the end."""

    def __init__(self, bin_folder, workers_in="", node=None, settings=None):
        self.bin = Path(bin_folder)
        self.node = node
        self.folder = Path(tempfile.mkdtemp(prefix="cdp-bench-"))
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        self.environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        self.settings = {**SETTINGS, "cdp.databases": workers_in, **(settings or {})}
        if not (self.library_folder() / "pg_stat_statements.so").exists():
            self.settings["shared_preload_libraries"] = "cdp"
            del self.settings["pg_stat_statements.track"]
        self._as_server("initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C")
        lines = [f"{name} = '{value}'" for name, value in self.settings.items()]
        lines.append(f"unix_socket_directories = '{self.folder}'")
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        self.start()

    @property
    def data(self):
        return self.folder / "data"

    def library_folder(self):
        found = subprocess.run([self.program("pg_config"), "--pkglibdir"], capture_output=True, text=True, check=True)
        return Path(found.stdout.strip())

    def program(self, name):
        return str(self.bin / name)

    def address(self, database):
        return ["-h", str(self.folder), "-U", "postgres", "-d", database]

    def _as_server(self, program, *arguments):
        done = subprocess.run(
            [self.program(program), *map(str, arguments)],
            user=self.user, group=self.user, cwd="/", env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )
        if done.returncode != 0:
            log = self.folder / "log"
            raise RuntimeError(f"{program} failed\n{done.stdout}\n{log.read_text()[-3000:] if log.exists() else ''}")

    def start(self):
        self._as_server("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-s", "start")

    def stop(self):
        self._as_server("pg_ctl", "-D", self.data, "-m", "fast", "-w", "-s", "stop")

    def remove(self):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def database(self, name):
        """A fresh database with cdp and the schema bench."""
        with Session(self, "postgres") as session:
            session.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            session.run(f"CREATE DATABASE {name}")
        with self.session(name) as session:
            session.run("CREATE EXTENSION cdp; CREATE SCHEMA bench")

    def clear(self):
        """Removes all databases that were made, so that the disk only has to hold those of one series."""
        for files in self.folder.glob("*-files"):
            shutil.rmtree(files, ignore_errors=True)
        with Session(self, "postgres") as session:
            for name in session.run("SELECT datname FROM pg_database WHERE datname <> 'postgres' AND NOT datistemplate"):
                session.run(f"DROP DATABASE {name} WITH (FORCE)")
            session.run("CHECKPOINT")

    def session(self, database):
        return Session(self, database)

    def pgbench(self, database, script, seconds, clients=1, variables=None):
        """Runs a pgbench script; returns transactions per second and the latencies in milliseconds, sorted."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            path = Path(folder) / "script.sql"
            path.write_text(script, encoding="utf-8")
            done = subprocess.run(
                [
                    self.program("pgbench"), "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2)),
                    "-T", str(seconds), "-f", str(path), "-l", "--log-prefix", f"{folder}/log", "--random-seed", "1",
                    *[f"-D{name}={value}" for name, value in (variables or {}).items()],
                    *self.address(database)[:-2], database,
                ],
                capture_output=True, text=True, env=self.environment, check=False,
            )
            if done.returncode != 0 or " aborted " in done.stderr:
                raise RuntimeError(done.stderr)
            tps = next(float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("tps ="))
            latencies = sorted(
                int(line.split()[2]) / 1000
                for log in Path(folder).glob("log.*")
                for line in log.read_text().splitlines()
            )
            return tps, latencies
