"""Tables for people, JSON for machines, SVG for both."""

import json
import os
import platform
import subprocess
from pathlib import Path

from . import chart


def quantity(value):
    """A number with three significant digits, thousands apart."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.4g}"


class Report:
    """Everything that was measured in one run."""

    def __init__(self, folder, about):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.about = about
        self.series = []

    def add(self, key, comparison):
        """Prints a comparison and keeps it."""
        rows = list(comparison.rows())
        print(f"\n{comparison.title} ({comparison.unit})")
        width = max(len(row["name"]) for row in rows)
        for row in rows:
            verdict = ""
            if row["target"] is not None:
                compare, wanted = row["target"]
                met = row["ratio"] >= wanted if compare == ">=" else row["ratio"] <= wanted
                verdict = f"  target {compare} {wanted}: {'met' if met else 'MISSED'}"
            print(
                f"  {row['name']:<{width}}  {quantity(row['median']):>12}  ±{row['spread'] * 100:3.0f} %"
                f"  ×{row['ratio']:.2f}{verdict}",
                flush=True,
            )
        for name, note in comparison.notes.items():
            print(f"    {name}: {note if isinstance(note, str) else quantity(note)}")
        self.series.append({"key": key, "title": comparison.title, "unit": comparison.unit, "rows": rows, "notes": comparison.notes})
        self.save()

    def curve(self, key, title, x, unit, lines, notes=None, logarithmic=True):
        """Prints and keeps a series over x: `lines` maps a name to (x, y) pairs."""
        print(f"\n{title} ({unit} by {x})")
        steps = sorted({step for points in lines.values() for step, _ in points})
        width = max(len(name) for name in lines)
        print("  " + " " * width + "".join(f"{step:>12,}" for step in steps))
        for name, points in lines.items():
            at = dict(points)
            print(f"  {name:<{width}}" + "".join(f"{quantity(at.get(step)) or '-':>12}" for step in steps), flush=True)
        for name, note in (notes or {}).items():
            print(f"    {name}: {note if isinstance(note, str) else quantity(note)}")
        self.series.append({"key": key, "title": title, "x": x, "unit": unit, "lines": lines, "notes": notes or {}, "logarithmic": logarithmic})
        self.save()

    def save(self):
        path = self.folder / "results.json"
        path.write_text(json.dumps({"about": self.about, "series": self.series}, indent=1), encoding="utf-8")
        (self.folder / "results.md").write_text(markdown(self.about, self.series), encoding="utf-8")
        for series in self.series:
            drawn = chart.lines(series) if "lines" in series else chart.bars(series)
            (self.folder / f"{series['key']}.svg").write_text(drawn, encoding="utf-8")


def markdown(about, all_series):
    """The same as tables of a page."""
    kind = "the quick cut" if about["quick"] else "the full run"
    page = [
        "# Figures", "",
        f"Written by {kind} of the benchmarks ([how it is done](../bench/README.md)): commit {about['commit']}, Postgres {about['postgres']}, "
        f"{about['cores']} cores ({about['processor']}), {about['memory_mb'] // 1024} GB, load {about['load_at_start']:.1f} at the start, "
        + ", ".join(f"`{name}` {value}" for name, value in about["durable"].items()) + ".", "",
    ]
    for series in all_series:
        page += [f"## {series['title']}", ""]
        if "lines" in series:
            steps = sorted({step for points in series["lines"].values() for step, _ in points})
            page += [f"| {series['x']} | " + " | ".join(f"{step:,}" for step in steps) + " |", "| --- |" + " --- |" * len(steps)]
            for name, points in series["lines"].items():
                at = dict(points)
                page.append(f"| {name} ({series['unit']}) | " + " | ".join(quantity(at.get(step)) for step in steps) + " |")
        else:
            page += [f"| | {series['unit']} | spread | ratio | target |", "| --- | --- | --- | --- | --- |"]
            for row in series["rows"]:
                target = " ".join(map(str, row["target"])) if row["target"] else ""
                page.append(f"| {row['name']} | {quantity(row['median'])} | ± {row['spread'] * 100:.0f} % | {row['ratio']:.2f} | {target} |")
        page.append("")
        for name, note in series["notes"].items():
            page.append(f"- {name}: {note if isinstance(note, str) else quantity(note)}")
        if series["notes"]:
            page.append("")
    return "\n".join(page)


def machine(server, quick):
    """What the numbers depend on."""
    with server.session("postgres") as session:
        version = session.value("SHOW server_version")
        durable = {name: session.value(f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")}
    processor = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        platform.processor(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    root = Path(__file__).resolve().parents[2]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "postgres": version,
        "processor": processor,
        "cores": os.cpu_count(),
        "memory_mb": memory,
        "kernel": platform.release(),
        "load_at_start": os.getloadavg()[0],
        "durable": durable,
        "settings": server.settings,
        "quick": quick,
        "seconds_of": {},
    }
