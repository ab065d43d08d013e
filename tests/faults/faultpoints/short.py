# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form: each point fails once, wherever it is reached first."""
import dataclasses
import random

from .drill import AFTERMATHS
from .plan import one_of_point
from .stage import Fault

# between them they reach every point
PHASES = ("write", "daemon", "assemble", "discard", "settings", "grow", "join", "add")


class Short:
    """`wanted`: points, all by default. A Report for each thing done is given to `tell`."""

    def __init__(self, runner, points, seed, tell=print, level=1):
        self.runner, self.points, self.tell, self.level = runner, points, tell, level
        self.rng = random.Random(seed)
        self.failed = set()             # points that did
        self.wrong = []

    def note(self, report):
        self.tell(report)
        self.failed |= {name for name, (_, failed) in report.hits.items() if failed}
        if report.wrong:
            self.wrong.append(str(report))
        return report

    def phase(self, name):
        """All points that it reaches and that did not fail yet."""
        counted = self.note(self.runner.run(self.level, name, Fault()))
        for point in sorted(set(counted.hits) & set(self.points) - self.failed):
            fault = one_of_point(self.points[point], counted.hits[point][0], self.rng)
            if not self.note(self.runner.run(self.level, name, fault,
                                             self.rng.choice(AFTERMATHS))).fired:
                self.note(self.runner.run(self.level, name, dataclasses.replace(fault, nth=1)))

    def run(self):
        for report in self.runner.loading():
            self.note(report)
        for name in PHASES:
            if set(self.points) - self.failed:
                self.phase(name)
        return self
