# SPDX-License-Identifier: GPL-2.0-or-later
"""Hypothesis draws scripts, a stage plays them, and what fails is shortened."""
import time

import hypothesis

from .play import Finding, Play
from .rig import Rig
from .strategy import scripts

SHRINK = 180            # seconds for shortening, of this machine


class Found(Exception):
    """One kind for hypothesis, whatever was found: it shortens only what fails alike."""


class Stage:
    """A VM with the player, booted again when a script has broken it."""

    def __init__(self, boot):
        """boot() gives a new VM with the options rig.VM, and takes the old one away."""
        self.boot = boot
        self.rig = None

    def play(self, script):
        """The operations that were possible. Raises Finding."""
        if not self.rig or not self.rig.vm.usable():
            self.rig = Rig(self.boot())
        return Play(self.rig).run(script)


class Search:
    """Scripts of one level until the examples or the time run out, or one fails."""

    def __init__(self, stage, level, seed, tell=print):
        self.stage = stage
        self.level = level
        self.seed = seed
        self.tell = tell
        self.results = {}       # script -> Finding or None
        self.operations = {}    # name -> how often it was done
        self.finding = None     # the shortest
        self.end = self.shrink_end = 0

    def run(self, examples, seconds, parts=2, kills=False):
        """The shortest Finding, or None."""
        self.end = time.monotonic() + seconds
        settings = hypothesis.settings(
            max_examples=examples, database=None, deadline=None, print_blob=False,
            report_multiple_bugs=False, suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
            verbosity=hypothesis.Verbosity.quiet)

        @hypothesis.seed(f"{self.seed} {self.level}")
        @settings
        @hypothesis.given(scripts(self.level, parts, kills))
        def test(script):
            if self.outcome(script):
                raise Found

        try:
            test()
        except Found:
            pass
        return self.finding

    def outcome(self, script):
        """Played once only; what there is no time for counts as fine."""
        key = repr(script)
        if key not in self.results:
            if time.monotonic() > (self.shrink_end if self.finding else self.end):
                return None
            self.results[key] = self.played(script)
        return self.results[key]

    def played(self, script):
        try:
            for name, *_ in self.stage.play(script):
                self.operations[name] = self.operations.get(name, 0) + 1
        except Finding as finding:
            if not self.finding:
                self.shrink_end = time.monotonic() + SHRINK
                self.tell(f"seed {self.seed}: {finding}\nnow it is shortened ...")
            if not self.finding or len(finding.script) <= len(self.finding.script):
                self.finding = finding
            return finding
        return None

    def summary(self):
        played = len(self.results)
        return (f"RAID{self.level}: {played} scripts, {sum(self.operations.values())} operations, "
                + ("nothing found" if not self.finding else "FOUND"))
