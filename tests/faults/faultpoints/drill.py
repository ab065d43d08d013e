# SPDX-License-Identifier: GPL-2.0-or-later
"""One fault: an array at rest, the operation that it happens to, what must hold, and the array at
rest again."""
import dataclasses

from vmtest.errors import CommandTimeout, VMLost, VMPanic

from . import phases
from .judge import Judge
from .points import IO
from .stage import Fault

AFTERMATHS = ("on", "stop", "cut")      # it goes on, is stopped, or the power is cut


@dataclasses.dataclass
class Report:
    """What came of one."""
    level: int
    phase: str
    fault: Fault
    aftermath: str
    hits: dict = dataclasses.field(default_factory=dict)
    failed: str | None = None           # what the operation said
    wrong: list = dataclasses.field(default_factory=list)
    lost: bool = False                  # the VM is of no use any more

    @property
    def fired(self):
        return self.hits.get(self.fault.point, (0, 0))[1] > 0

    @property
    def missed(self):
        """What should have failed was not reached: it says nothing about the fault."""
        return bool(self.fault.point) and not self.fired

    def __str__(self):
        how = "nothing failed" if not self.fault.point else \
            "not reached" if not self.fired else "failed" if self.failed else "went on"
        lines = [f"RAID{self.level} {self.phase}: {self.fault}, {self.aftermath}: {how}"]
        return "\n".join(lines + [f"    WRONG: {text}" for text in self.wrong])


class Unusable(Exception):
    """Nothing more can be done in this VM."""


class Drill:
    def __init__(self, stage):
        self.stage = stage
        self.begun = self.fresh()       # what is wrong already

    def fresh(self):
        """A new array at rest, with something in it."""
        stage = self.stage
        stage.remove()
        stage.wipe()
        answer = stage.create()
        if answer[0]:
            raise Unusable(f"no array can be created any more: {answer[1]}")
        return phases.some_writes(stage) + self._come_to_rest()

    def run(self, phase, fault, aftermath):
        report = Report(self.stage.level, phase.name, fault, aftermath)
        try:
            self._run(phase, fault, aftermath, report)
        except (CommandTimeout, VMLost, VMPanic, Unusable) as error:
            report.wrong.append(f"{type(error).__name__}: {error}")
            report.lost = True
        return report

    def _run(self, phase, fault, aftermath, report):
        stage, wrong = self.stage, report.wrong
        wrong += self.begun
        self.begun = []
        wrong += phase.before(stage) or []
        stage.failed, stage.fault = None, fault
        stage.arm(fault)
        wrong += phase.act(stage)
        report.hits, report.failed = stage.hits(), stage.failed
        stage.arm(Fault())
        stage.fault = Fault()
        wrong += self._judge_outcome(phase, fault, report)
        if stage.running() and stage.has_bitmap():
            wrong += stage.write((33, 0, 8))        # the array goes on, whatever failed
            wrong += self._aftermath(aftermath)
        else:
            wrong += self._without_bitmap(phase, report)
        wrong += self._come_to_rest()
        trouble = stage.trouble()
        if trouble:
            wrong.append(f"the kernel log has trouble:\n{trouble}")
        if wrong:
            self.fresh()

    def _judge_outcome(self, phase, fault, report):
        stage, wrong = self.stage, []
        memory = fault.point and fault.point.partition(":")[2].split("#")[0] not in IO
        if report.failed and not fault.point:
            wrong.append(f"it failed without a fault: {report.failed}")
        elif report.failed and phase.always_works:
            wrong.append(f"it failed: {report.failed}")
        elif report.failed and memory and not phase.memory_fails:
            wrong.append(f"it failed for want of memory: {report.failed}")
        if memory or not fault.point:
            bad = [disk for disk, in_sync in stage.members().items() if not in_sync] \
                if stage.running() else []
            if bad:
                wrong.append(f"disks {bad} failed, and no I/O did")
        if stage.images():
            wrong += Judge(stage).findings()
        return wrong

    def _aftermath(self, aftermath):
        stage = self.stage
        if aftermath == "on":
            return []
        stage.settle()          # or a member could become in-sync behind our back
        whole = stage.whole()
        answer = stage.stop() if aftermath == "stop" else stage.cut()
        if answer[0]:
            return [f"it cannot be stopped: {answer[1]}"]
        if aftermath == "stop" and whole:
            stage.passed()
        return self.left_behind() + Judge(stage).findings()

    def _without_bitmap(self, phase, report):
        """The array did not start, was stopped, or has no bitmap: nothing of one is there."""
        stage = self.stage
        running = stage.running()
        if not running:
            stage.mdadm("--stop", "/dev/md0")       # what mdadm left in pieces
        return self.left_behind()

    def left_behind(self):
        stage = self.stage
        wrong = [f"not given back: {line}" for line in stage.unbalanced()]
        if stage.vm.exists("/sys/block/md0_bitmap"):
            wrong.append("the hidden disk is still there")
        if stage.vm.exists("/sys/block/md0/md/llbitmap"):
            wrong.append("md/llbitmap is still there")
        return wrong

    def _come_to_rest(self):
        """All members in-sync, all chunks Clean or Unwritten, all data there."""
        stage = self.stage
        if stage.running() and not stage.has_bitmap():
            wrong = stage.misread()
            return wrong + self.fresh()
        if not stage.running():
            if not stage.images():                  # the creation failed
                return self.fresh()
            answer = stage.assemble_any()
            if answer[0]:
                return [f"it cannot be assembled again: {answer[1]}"]
        stage.settle()
        if stage.flush():
            wrong = self._assemble_again()      # it was given up: everything is synced
            if not stage.running():
                return wrong
        else:
            wrong = stage.complete()
            if stage.flush():
                wrong.append("at rest it cannot be flushed")
        if stage.ask(["get", "component_size"])[0] != str(stage.full):
            answer = stage.resize(stage.full, 5)
            if answer[0]:
                wrong.append(f"it cannot grow: {answer[1]}")
        bits = stage.bits()
        if not bits:            # md/llbitmap could not be shown
            return wrong + self.fresh()
        if bits["dirty"] or bits["need sync"] or bits["syncing"]:
            wrong.append(f"at rest there are {bits}")
        return wrong + Judge(stage).findings() + stage.misread()

    def _assemble_again(self):
        stage = self.stage
        answer = stage.stop()
        wrong = [f"it cannot be stopped: {answer[1]}"] if answer[0] else self.left_behind()
        answer = stage.assemble()
        if answer[0]:
            return wrong + [f"it cannot be assembled again: {answer[1]}"]
        wrong += stage.complete()
        if stage.flush():
            wrong.append("a bitmap that was given up is not back after an assembly")
        return wrong

