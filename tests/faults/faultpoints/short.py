# SPDX-License-Identifier: GPL-2.0-or-later
"""The short forms: each point, or some of them, fails once, wherever it is reached first."""
import dataclasses
import random

from .drill import AFTERMATHS
from .plan import one_of_point
from .stage import Fault

# between them they reach every point
PHASES = ("write", "daemon", "assemble", "discard", "settings", "grow", "join", "add")
FEW = {"phases": PHASES[:3], "most": 5}


class Short:
    """`most`: so many points of each phase, all by default. A Report for each thing done is given to
    `tell`."""

    def __init__(self, runner, points, seed, phases=PHASES, most=None, tell=print, level=1):
        self.runner, self.points, self.tell, self.level = runner, points, tell, level
        self.phases, self.most = phases, most
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
        """Points that it reaches and that did not fail yet."""
        counted = self.note(self.runner.run(self.level, name, Fault()))
        reached = sorted(set(counted.hits) & set(self.points) - self.failed)
        if self.most:
            reached = self.rng.sample(reached, min(self.most, len(reached)))
        for point in reached:
            fault = one_of_point(self.points[point], counted.hits[point][0], self.rng)
            if not self.note(self.runner.run(self.level, name, fault,
                                             self.rng.choice(AFTERMATHS))).fired:
                self.note(self.runner.run(self.level, name, dataclasses.replace(fault, nth=1)))

    def run(self):
        for report in self.runner.loading():
            self.note(report)
        for name in self.phases:
            if set(self.points) - self.failed:
                self.phase(name)
        return self
