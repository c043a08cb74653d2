"""Interleaved measuring: every contestant once a round, in turning order, so that what disturbs the machine
disturbs all of them alike."""

import statistics
from dataclasses import dataclass, field


@dataclass
class Contestant:
    """Something that is measured: `once(round)` does it and returns a number."""

    name: str
    once: object
    samples: list = field(default_factory=list)

    @property
    def median(self):
        return statistics.median(self.samples)

    @property
    def spread(self):
        """Half the distance between the quartiles, as a part of the median."""
        if len(self.samples) < 3:
            return (max(self.samples) - min(self.samples)) / 2 / self.median if self.median else 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / 2 / self.median if self.median else 0.0


@dataclass
class Comparison:
    """Contestants measured side by side; the first is what the others are compared with."""

    title: str
    unit: str
    contestants: list
    target: dict = field(default_factory=dict)
    notes: dict = field(default_factory=dict)

    def run(self, rounds, warm=False):
        if warm:
            for contestant in self.contestants:
                contestant.once(-1)
        for number in range(rounds):
            turned = self.contestants[number % len(self.contestants):] + self.contestants[: number % len(self.contestants)]
            for contestant in turned:
                contestant.samples.append(contestant.once(number))
        return self

    def ratio(self, contestant):
        """The median of the ratios within rounds: steadier than the ratio of the medians."""
        base = self.contestants[0].samples
        return statistics.median(mine / theirs for mine, theirs in zip(contestant.samples, base) if theirs)

    def rows(self):
        for contestant in self.contestants:
            ratio = self.ratio(contestant)
            target = self.target.get(contestant.name)
            yield {
                "name": contestant.name,
                "median": contestant.median,
                "spread": contestant.spread,
                "ratio": ratio,
                "target": target,
                "samples": contestant.samples,
            }


def percentile(values, part):
    """The value below which `part` (0…1) of sorted values lie."""
    return values[min(len(values) - 1, int(part * len(values)))] if values else float("nan")
