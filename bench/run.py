#!/usr/bin/env python3
"""Runs the benchmarks against a private server. See README.md."""

import argparse
import importlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from harness.report import Report, machine  # noqa: E402
from harness.server import Server  # noqa: E402

MODULES = ["ingest", "algorithms", "definitions", "reading", "time_and_identity", "footprint", "delivery", "steady"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="folder with the programs of the Postgres that has cdp installed")
    parser.add_argument("--node", help="folder where the delivery peers are installed")
    parser.add_argument("--quick", action="store_true", help="a small cut of every series")
    parser.add_argument("--hour", action="store_true", help="let the steady stream run for an hour instead of five minutes")
    parser.add_argument("--out", default="bench/results", help="folder for results.json and the charts")
    parser.add_argument("only", nargs="*", help="names of series; all without any")
    options = parser.parse_args()

    series = {function.__name__: function for name in MODULES for function in importlib.import_module(f"series.{name}").SERIES}
    unknown = [name for name in options.only if name not in series]
    if unknown:
        parser.error(f"no series {', '.join(unknown)}; there are: {', '.join(series)}")
    start = time.monotonic()
    server = Server(options.bin, workers_in="delivery,steady", node=options.node)
    server.steady_seconds = 3600 if options.hour else 300
    try:
        report = Report(options.out, machine(server, options.quick))
        print(", ".join(f"{name} {value}" for name, value in report.about.items() if name not in ("settings", "quick", "seconds_of")))
        for name, function in series.items():
            if not options.only or name in options.only:
                before = time.monotonic()
                function(server, report, options.quick)
                server.clear()
                report.about["seconds_of"][name] = round(time.monotonic() - before)
                print(f"-- {name}: {report.about['seconds_of'][name]} s", flush=True)
        report.about["seconds"] = round(time.monotonic() - start)
        report.save()
        print(f"\n{report.about['seconds']} s; {report.folder}/results.json and a chart for each series")
    finally:
        server.remove()


if __name__ == "__main__":
    main()
