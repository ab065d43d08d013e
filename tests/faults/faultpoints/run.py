# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM in which faults happen, watched by `llbitmapctl audit`; another one when it is lost."""
import pathlib
import shutil

from vmtest import planted
from vmtest.errors import CommandTimeout, VMLost, VMPanic
from vmtest.kernel_log import find_trouble
from vmtest.machine import VM as Machine
from vmtest.machine import VMOptions

from . import phases
from .drill import Drill, Report
from .points import all_points, instrument
from .stage import VM, Fault, Stage
from .watched import Watched

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


class Runner:
    """run() one fault after the other; verdict() tells what the audit found in them."""

    def __init__(self, environment, directory, modules_dir):
        self.environment, self.directory, self.modules = environment, directory, modules_dir
        self.machine = self.audit = self.drill = None
        self.level = None

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
        self.audit = self.audit or Watched(self.machine)
        self.level = level
        self.drill = Drill(stage)

    def run(self, level, phase, fault, aftermath="on"):
        """The Report."""
        if self.drill is None or self.level != level:
            self.take(level)
        report = self.drill.run(phases.ALL[phase], fault, aftermath)
        if report.lost or not self.machine.usable():
            # its audit goes with it: this run is wrong, whatever that would have said
            report.wrong = report.wrong or ["the VM is of no use any more"]
            self.drop()
        else:
            report.wrong += self.audit.news()
        return report

    def verdict(self):
        """What the audit has to say of all runs since the last one, and what they did not give back,
        as texts; the array is gone."""
        try:
            wrong = []
            if self.drill:
                self.drill.stage.remove()
                wrong = self.drill.left_behind()
            audit, self.audit, self.level = self.audit, None, None
            return wrong + (audit.verdict() if audit else [])
        except (CommandTimeout, VMLost, VMPanic) as error:
            self.drop()
            return [f"the end: {error}"]

    def drop(self):
        if self.machine:
            self.machine.stop()
        self.machine = self.audit = self.drill = None
