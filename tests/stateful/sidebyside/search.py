# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts are drawn, a stage plays them, and what fails is shortened here: to leave out one operation
after the other takes a dozen plays, where a tool that knows nothing of operations takes a hundred, and
a play takes seconds."""
import itertools
import random
import time

from .play import Finding, Play
from .rig import Rig
from .strategy import FIRST, scripts

SHORTEN = 90           # seconds for it, of this machine
ESSENTIAL = sorted({name for passage in FIRST for name, *_ in passage})


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

    def __init__(self, stage, level, seed, begin=0, tell=print):
        """begin: so many scripts of this seed were played before."""
        self.stage = stage
        self.level = level
        self.seed = seed
        self.begin = begin
        self.tell = tell
        self.played = 0         # of those that were drawn
        self.operations = {}    # name -> how often it was done
        self.finding = None     # the shortest

    def run(self, examples, seconds, passages=5, kills=False):
        """The shortest Finding, or None."""
        end = time.monotonic() + seconds
        drawn = scripts(random.Random(f"{self.seed} {self.level}"), self.level, passages, kills)
        for script in itertools.islice(drawn, self.begin, self.begin + examples):
            if time.monotonic() >= end:
                break
            self.played += 1
            if self.fails(script):
                self.tell(f"seed {self.seed}: {self.finding}\nnow it is shortened ...")
                self.shorten(time.monotonic() + SHORTEN)
                break
        return self.finding

    def left_out(self, names=ESSENTIAL):
        """Those of these operations that were never done."""
        return [name for name in names if name not in self.operations]

    def fails(self, script, reason=None):
        """Plays it. What it finds (of the same reason, if there is one) is of the operations so far:
        no longer than the script."""
        try:
            done = self.stage.play(script)
        except Finding as finding:
            if reason not in (None, finding.reason):
                return False
            self.finding = finding
            return True
        for name, *_ in done:
            self.operations[name] = self.operations.get(name, 0) + 1
        return False

    def shorten(self, end):
        """Leaves operations out, then makes numbers 0, as long as it still fails in the same way."""
        reason = self.finding.reason
        at = len(self.finding.script) - 1
        while at > 0 and time.monotonic() < end:
            script = self.finding.script
            if at < len(script):
                self.fails(script[:at] + script[at + 1:], reason)
            at -= 1
        for at, operation in enumerate(self.finding.script):
            simple = (operation[0], *(0 if isinstance(value, int) else value
                                      for value in operation[1:]))
            script = list(self.finding.script)
            if 0 < at < len(script) and time.monotonic() < end and simple != operation and \
                    operation[0] in ("fail", "back", "wiped", "restart_without", "replace", "hold"):
                script[at] = simple
                self.fails(script, reason)

    def summary(self):
        done = sum(self.operations.values())
        return (f"RAID{self.level}: {self.played} scripts, {done} operations, " +
                ("FOUND" if self.finding else "nothing found"))
