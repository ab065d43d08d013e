# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM in which faults happen, watched by `llbitmapctl audit`; another one when it is lost."""
import pathlib
import re
import shutil
import signal

from vmtest import planted
from vmtest.errors import CommandTimeout, VMLost, VMPanic
from vmtest.kernel_log import find_trouble
from vmtest.machine import VM as Machine
from vmtest.machine import VMOptions

from . import phases
from .drill import Drill, Report
from .points import all_points, instrument
from .stage import VM, Fault, Stage

HERE = pathlib.Path(__file__).resolve().parents[1]
# poison and red zones: what is used after it was freed shows
CMDLINE = "slub_debug=FZP,kmalloc-*"


def modules(*bugs):
    """The directory of those in which each call that can fail does so on demand (kernel/), with
    these bugs of planted/."""
    def plant(md):
        planted.patches(*(HERE / "planted" / f"{bug}.patch" for bug in bugs))(md)
        for file in (HERE / "kernel").iterdir():
            shutil.copy(file, md)
        instrument(md)
    return planted.modules("faults", "-".join(bugs) or "none", plant)


def points():
    """All there are: {name: Point}."""
    return {point.name: point for point in all_points(planted.patched_source())}


def conclusive(status, text):
    """Whether the audit passed, or has no other doubt than this one: a bitmap that is refused tells
    why, and that counts as an event of an array that is not watched."""
    lost = set(re.findall(r"^lost: \d+ \((.*)\)$", text, re.M))
    return status == 0 or (status == 3 and "verdict: inconclusive: events were lost\n" in text
                           and "array not watched" in lost
                           and lost <= {"array not watched", "stack not kept"})


class Runner:
    """run() one fault after the other. Closed, it says what the audit found."""

    def __init__(self, environment, directory, modules_dir):
        self.environment, self.directory, self.modules = environment, directory, modules_dir
        self.machine = self.audit = self.drill = None
        self.level = None
        self.told = ""

    def boot(self):
        self.machine = Machine(self.environment, self.directory,
                               VMOptions(**VM, modules=self.modules, cmdline=CMDLINE)).boot()

    # -- loading the modules ----------------------------------------------------------------------

    def loading(self):
        """Reports of faults while the modules are loaded, in a new VM, and of loading them then."""
        self.drop()
        self.boot()
        for name in sorted(points()):
            if name.endswith("_init:alloc_workqueue"):
                yield self._load(Fault(name))
        yield self._load(Fault())

    def _load(self, fault):
        vm = self.machine
        report = Report(0, "load", fault, "on")
        start = vm.log.size()
        result = vm.run(["modprobe", "md-mod", f"faults={fault.armed()}"], check=False)
        report.failed = None if result else result.stderr.strip()
        if fault.point:
            # a module that was not loaded cannot be asked
            report.hits = {fault.point: (1, int(not result))}
        if bool(result) == bool(fault.point):
            report.wrong.append(f"modprobe: {result}")
        trouble = find_trouble(vm.dmesg(start))
        if trouble:
            report.wrong.append(f"the kernel log has trouble:\n{trouble}")
        return report

    # -- arrays -----------------------------------------------------------------------------------

    def take(self, level):
        """From now on the faults happen to an array of this level."""
        if not self.machine:
            self.boot()
        if self.drill:
            stage = self.drill.stage
            stage.remove()
            stage.take(level)
        else:
            stage = Stage(self.machine, level)
            self.audit = self.machine.spawn(["llbitmapctl", "audit", "--no-colour", "-d", 36000],
                                            timeout=72000)
            self.told = ""
        self.level = level
        self.drill = Drill(stage)

    def run(self, level, phase, fault, aftermath="on"):
        """The Report."""
        if self.drill is None or self.level != level:
            self.take(level)
        report = self.drill.run(phases.ALL[phase], fault, aftermath)
        if not report.lost:
            report.wrong += self._audit_says()
        if report.lost or not self.machine.usable():
            self.drop()
        return report

    def _audit_says(self):
        text = self.audit.output()[1]
        new, self.told = text[len(self.told):], text
        return [f"the audit says:\n{new}"] if "violat" in new.lower() else []

    def _verdict(self):
        """What the audit says that is wrong."""
        if not self.audit or not self.machine.usable():
            return []
        self.audit.signal(signal.SIGINT)
        result = self.audit.wait(check=False)
        self.audit = None
        print(*re.findall("^(?:lost|verdict):.*", result.stdout, re.M), sep="; ")
        return [] if conclusive(result.rc, result.stdout) else \
            [f"the audit ends with {result.rc}:\n{result.stdout}{result.stderr}"]

    def drop(self):
        if self.machine:
            self.machine.stop()
        self.machine = self.audit = self.drill = None

    def close(self):
        """What is left to say: a list of texts."""
        try:
            if self.drill and self.machine.usable():
                self.drill.stage.remove()
            return self._verdict()
        except (CommandTimeout, VMLost, VMPanic) as error:
            return [f"the end: {error}"]
        finally:
            self.drop()
