# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done while a fault waits: each phase of a bitmap's life.

before() prepares, with an array at rest; act() is what the fault happens to,
and gives what is wrong, as text. `stage.failed` is what the operation said if it failed as it may.
"""
from .judge import Judge
from .stage import PAGE_0

SPARE = 4                       # a disk that no array begins with


class Phase:
    name = ""
    memory_fails = False        # without memory the operation may fail, and nothing has changed
    always_works = True         # whatever happens to the bitmap, the array goes on

    def before(self, stage):
        """Gives what is wrong, too; None: nothing."""

    def act(self, stage):
        raise NotImplementedError


def places(stage):
    """One chunk, a part of several, and over the end of the bitmap's first page; for write()."""
    last = stage.unit // 8
    return ((3, 0, 8), (17, 2, 8), (20, 4, 2 * stage.unit), (5, 0, 8), (PAGE_0 - 1, last - 2, 32),
            (PAGE_0 + 40, 0, 8))


def some_writes(stage):
    return stage.write(*places(stage))


def again(stage):
    """Stops and assembles it: it has room for what it is, and no more."""
    stage.stop()
    stage.assemble()
    stage.settle()


def said(stage, answer):
    """An answer of mdadm."""
    stage.failed = None if answer[0] == 0 else answer[1]
    return []


def settled(stage, answer):
    """The same, and md has done what follows from it."""
    stage.settle()
    return said(stage, answer)


class Create(Phase):
    memory_fails = True
    always_works = False
    name, clean = "create", False

    def before(self, stage):
        stage.remove()
        stage.wipe()

    def act(self, stage):
        return settled(stage, stage.create(self.clean))


class CreateClean(Create):
    name, clean = "create-clean", True


class Assemble(Phase):
    memory_fails = True
    always_works = False
    name = "assemble"

    def before(self, stage):
        stage.stop()

    def act(self, stage):
        return settled(stage, stage.assemble())


class AssembleAfterCut(Assemble):
    name = "assemble-cut"

    def before(self, stage):
        wrong = some_writes(stage)
        stage.tear(5)
        stage.cut()
        return wrong


class Write(Phase):
    name = "write"

    def act(self, stage):
        """Looked at after each: what one write forgot, the bitmap write of the next may bring."""
        wrong = []
        for place in places(stage):
            wrong += stage.write(place) + Judge(stage).cleaner_than_it_is()
        return wrong


class Discard(Phase):
    name = "discard"

    def before(self, stage):
        wrong = stage.write((24, 0, 4 * stage.unit), (PAGE_0 - 1, 0, 2 * stage.unit))
        stage.flush()
        return wrong

    def act(self, stage):
        wrong = stage.discard(24, 2) + stage.discard(PAGE_0 - 1, 2)
        stage.ask(["sleep", 0.4])           # the worker begins 0.1 s later
        stage.passed()
        return wrong


class Daemon(Phase):
    name = "daemon"
    always_works = False        # "flush" says so when the bitmap is given up

    def before(self, stage):
        return some_writes(stage)

    def act(self, stage):
        stage.failed = stage.set("llbitmap/flush", 1)
        if not stage.failed:
            stage.passed()
        return []


class Settings(Phase):
    name = "settings"
    always_works = False

    def act(self, stage):
        errors = [stage.set("llbitmap/daemon_sleep", 3599),
                  stage.set("bitmap_set_bits", f"{PAGE_0 - 1}-{PAGE_0}"),
                  stage.set("llbitmap/mark", "70-71")]
        stage.failed = next(filter(None, errors), None)
        stage.touched.update((PAGE_0 - 1, PAGE_0, 70, 71))
        stage.settle()
        return []


class Grow(Phase):
    memory_fails = True
    always_works = False
    name = "grow"

    def before(self, stage):
        stage.resize(stage.full // 2, 5)
        again(stage)

    def act(self, stage):
        return said(stage, stage.resize(stage.full))


class Shrink(Phase):
    name = "shrink"
    always_works = False

    def act(self, stage):
        return said(stage, stage.resize(stage.full // 2))


class Join(Phase):
    """A device more than there was room for; and then a member is replaced by it."""
    memory_fails = True
    always_works = False
    name = "join"

    def before(self, stage):
        again(stage)

    def act(self, stage):
        spare = SPARE if SPARE not in stage.disks else \
            next(disk for disk in range(SPARE) if disk not in stage.disks)
        stage.mdadm("--zero-superblock", stage.device(spare))
        said(stage, stage.mdadm("/dev/md0", "--add", stage.device(spare)))
        if stage.failed:
            return []
        gone = stage.disks[0]
        answer = stage.mdadm("/dev/md0", "--fail", stage.device(gone))
        stage.settle()
        if answer[0]:               # the fault took another one already, which is replaced
            members = stage.members()
            gone = next((disk for disk in stage.disks if not members.get(disk)), None)
            if gone is None:
                return [f"no member can be failed: {answer[1]}"]
        stage.disks.remove(gone)
        stage.disks.append(spare)
        stage.mdadm("/dev/md0", "--remove", stage.device(gone), seconds=5)
        return []


class Rejoin(Phase):
    name = "rejoin"
    always_works = False

    def before(self, stage):
        stage.leave(stage.disks[-1])
        return some_writes(stage)

    def act(self, stage):
        return settled(stage, stage.mdadm("/dev/md0", "--re-add", stage.device(stage.disks[-1])))


class Stop(Phase):
    name = "stop"

    def before(self, stage):
        return some_writes(stage)

    def act(self, stage):
        said(stage, stage.stop())
        stage.passed()
        return []


class Remove(Phase):
    name = "remove"

    def before(self, stage):
        return some_writes(stage)

    def act(self, stage):
        return said(stage, stage.mdadm("--grow", "/dev/md0", "--bitmap=none", seconds=5))


class Add(Phase):
    memory_fails = True
    always_works = False
    name = "add"

    def before(self, stage):
        stage.remove()
        stage.wipe()
        stage.create(bitmap="none")
        wrong = some_writes(stage)
        stage.hot.clear()
        return wrong

    def act(self, stage):
        stage.failed = stage.add_bitmap()
        stage.settle()
        return []


# what costs little comes first
ALL = {phase.name: phase for phase in (
    Write(), Daemon(), Assemble(), AssembleAfterCut(), Stop(), Discard(), Settings(), Grow(),
    Shrink(), Join(), Rejoin(), Remove(), Add(), Create(), CreateClean())}
