"""Charts as SVG, without a library."""

import math
from xml.sax.saxutils import escape

COLOURS = ["#4c6a92", "#c44e52", "#55a868", "#8172b3", "#cc8963", "#64b5cd"]
WIDTH, LEFT, FONT = 760, 250, "font-family='sans-serif' font-size='13'"


def _quantity(value):
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:.3g} M"
    if abs(value) >= 10_000:
        return f"{value / 1_000:.3g} k"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _document(height, title, body):
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' role='img' aria-label='{escape(title)}'>"
        f"<rect width='{WIDTH}' height='{height}' fill='white'/>"
        f"<text x='12' y='22' {FONT} font-weight='bold'>{escape(title)}</text>{body}</svg>\n"
    )


def bars(series):
    """One bar for each contestant, with its ratio to the first."""
    rows = series["rows"]
    most = max(row["median"] for row in rows) or 1
    room = WIDTH - LEFT - 150
    parts = []
    for number, row in enumerate(rows):
        y = 44 + number * 30
        length = max(1, row["median"] / most * room)
        parts.append(
            f"<text x='{LEFT - 8}' y='{y + 14}' text-anchor='end' {FONT}>{escape(row['name'])}</text>"
            f"<rect x='{LEFT}' y='{y}' width='{length:.1f}' height='20' fill='{COLOURS[min(number, 1)]}'/>"
            f"<text x='{LEFT + length + 6:.1f}' y='{y + 14}' {FONT}>{_quantity(row['median'])}  ×{row['ratio']:.2f}</text>"
        )
    return _document(60 + 30 * len(rows), f"{series['title']} ({series['unit']})", "".join(parts))


def lines(series):
    """A line for each contestant; both axes logarithmic where the series says so."""
    top, bottom, left, right = 44, 300, 70, WIDTH - 220
    points = [point for line in series["lines"].values() for point in line if point[1] and point[1] > 0]
    if not points:
        return _document(80, series["title"], "")
    scale = math.log10 if series["logarithmic"] else float
    xs, ys = [scale(x) for x, _ in points], [math.log10(y) for _, y in points]
    x_low, x_span = min(xs), (max(xs) - min(xs)) or 1
    y_low, y_high = math.floor(min(ys)), math.ceil(max(ys))
    y_high = max(y_high, y_low + 1)

    def place(x, y):
        return (
            left + (scale(x) - x_low) / x_span * (right - left),
            bottom - (math.log10(y) - y_low) / (y_high - y_low) * (bottom - top),
        )

    parts = []
    for power in range(y_low, y_high + 1):
        y = bottom - (power - y_low) / (y_high - y_low) * (bottom - top)
        parts.append(
            f"<line x1='{left}' x2='{right}' y1='{y:.1f}' y2='{y:.1f}' stroke='#ddd'/>"
            f"<text x='{left - 6}' y='{y + 4:.1f}' text-anchor='end' {FONT}>{_quantity(10.0**power)}</text>"
        )
    for step in sorted({x for x, _ in points}):
        x = place(step, 10.0**y_low)[0]
        parts.append(f"<text x='{x:.1f}' y='{bottom + 18}' text-anchor='middle' {FONT}>{_quantity(step)}</text>")
    for number, (name, line) in enumerate(series["lines"].items()):
        colour = COLOURS[number % len(COLOURS)]
        path = [place(x, y) for x, y in sorted(line) if y and y > 0]
        parts.append(f"<polyline fill='none' stroke='{colour}' stroke-width='2' points='{' '.join(f'{x:.1f},{y:.1f}' for x, y in path)}'/>")
        parts.extend(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>" for x, y in path)
        parts.append(f"<text x='{right + 12}' y='{top + 14 + number * 20}' fill='{colour}' {FONT}>{escape(name)}</text>")
    parts.append(f"<text x='{(left + right) / 2}' y='{bottom + 38}' text-anchor='middle' {FONT}>{escape(series['x'])}</text>")
    return _document(350, f"{series['title']} ({series['unit']})", "".join(parts))
