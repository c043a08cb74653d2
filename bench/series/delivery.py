"""The same messages to the same endpoint: cdp's worker beside job queues that run in Node."""

import subprocess
import time
import urllib.request
from pathlib import Path

from harness.measure import Comparison, Contestant
from series.footprint import memory_mb

DATABASE = "delivery"


def delivery(server, report, quick):
    """Messages that wait in Postgres are POSTed to a local endpoint, at most eight requests at once."""
    node = server.node
    if node is None or not (Path(node) / "node_modules").exists():
        print("\ndelivery: the Node peers are not installed; left out")
        return
    count = 1_000 if quick else 10_000
    sink = subprocess.Popen(["node", f"{node}/sink.mjs"], stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{sink.stdout.readline().strip()}/"
        server.database(DATABASE)
        session = server.session(DATABASE)
        session.run(
            f"""CREATE TABLE bench.messages (payload jsonb);
            INSERT INTO bench.messages SELECT jsonb_build_object('type', 'track', 'event', 'order', 'userId', 'user_' || n % 500,
                'messageId', gen_random_uuid(), 'timestamp', now(), 'properties', jsonb_build_object('total', n)) FROM generate_series(1, {count}) AS n;
            SELECT cdp.define_destination('sink', 'webhook', '{{"url": "{url}"}}'), cdp.define_route('sink', ARRAY['order'])"""
        )
        memory = []

        def ours(_):
            """From the moment the destination is opened to the last answer that is written down."""
            session.run("SELECT cdp.pause_destination('sink', 'benchmark')")
            session.run("SELECT count(*) FROM bench.messages, cdp.ingest(payload - 'messageId')")
            waiting = session.number("SELECT count(*) FROM _cdp.deliveries")
            if waiting != count:
                raise RuntimeError(f"{waiting:.0f} of {count} messages wait")
            start = time.perf_counter()
            session.run("SELECT cdp.resume_destination('sink')")
            while session.number("SELECT count(*) FROM (SELECT 1 FROM _cdp.deliveries LIMIT 1) AS d"):
                time.sleep(0.005)
                if time.perf_counter() - start > 600:
                    raise RuntimeError("not delivered after ten minutes")
            taken = time.perf_counter() - start
            process = session.value("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'cdp%deliver%' LIMIT 1")
            if process:
                memory.append(memory_mb(process))
            return count / taken

        def peer(name):
            def run(_):
                session.run("DROP SCHEMA IF EXISTS graphile_worker CASCADE; DROP SCHEMA IF EXISTS pgboss CASCADE")
                done = subprocess.run(
                    ["node", f"{node}/{name}.mjs", f"postgres:///{DATABASE}?host={server.folder}&user=postgres", url, str(count)],
                    capture_output=True, text=True, timeout=900, check=False, cwd=node,
                )
                if done.returncode != 0:
                    raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
                return count / next(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("seconds "))

            return Contestant(name, run)

        comparison = Comparison(
            f"Delivery of {count:,} messages, a POST each, eight at once", "messages/s",
            [peer("graphile-worker"), peer("pg-boss"), Contestant("cdp", ours)],
            target={"cdp": (">=", 1.0)},
        ).run(3)
        comparison.notes["received by the endpoint"] = urllib.request.urlopen(url).read().decode()
        if memory:
            comparison.notes["memory of the delivery worker, without shared buffers"] = f"{max(memory):.0f} MB"
        report.add("delivery", comparison)
        session.close()
    finally:
        sink.terminate()
        sink.wait()


def waiting(server, report, quick):
    """How much the worker holds, and how quick it is, while very many messages wait."""
    node = server.node
    if node is None or not (Path(node) / "sink.mjs").exists():
        print("\nwaiting: there is no endpoint in Node; left out")
        return
    count, seconds, block = 20_000 if quick else 1_000_000, 1 if quick else 10, 100_000
    sink = subprocess.Popen(["node", f"{node}/sink.mjs"], stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{sink.stdout.readline().strip()}/"
        server.database(DATABASE)
        with server.session(DATABASE) as session:
            session.run(
                f"""SELECT cdp.define_destination('sink', 'webhook', '{{"url": "{url}"}}'), cdp.define_route('sink', ARRAY['order']);
                SELECT cdp.pause_destination('sink', 'benchmark')"""
            )
            for first in range(0, count, block):
                session.run(
                    f"""INSERT INTO cdp.inbox (user_id, event, properties)
                    SELECT 'user_' || n % 5000, 'order', jsonb_build_object('total', n) FROM generate_series({first + 1}, {min(first + block, count)}) AS n"""
                )
            session.run("VACUUM ANALYZE; CHECKPOINT")
            session.run("SELECT cdp.resume_destination('sink')")
            start, most = time.perf_counter(), 0.0
            while (passed := time.perf_counter() - start) < seconds:
                process = session.value("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'cdp%deliver%' LIMIT 1")
                most = max(most, memory_mb(process) if process else 0.0)
                time.sleep(0.1)
            session.run("SELECT cdp.pause_destination('sink', 'benchmark')")
            left = session.number("SELECT count(*) FROM _cdp.deliveries")
            comparison = Comparison(f"Delivery while {count:,} messages wait", "messages/s", [Contestant("cdp", None, [(count - left) / passed])])
            comparison.notes["memory of the delivery worker, without shared buffers (target < 100 MB)"] = f"{most:.0f} MB"
            report.add("waiting", comparison)
    finally:
        sink.terminate()
        sink.wait()


SERIES = [delivery, waiting]
