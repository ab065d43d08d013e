# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures in instructions of the guest: what a write costs, and what watching adds to it."""
import json
import math
import signal
import statistics
import time

import ramdisks
from figure import Figure

WRITES = 100_000    # of a run: fio's milliseconds, spread over these, are 10 instructions
# added by llbitmap to a write to Dirty chunks
STEADY_MOST = {1: 250, 10: 250, 4: 300, 5: 300, 6: 300}
# Runs of the same load differ, with parity by a tenth of a percent and more, as its stripes happen to
# meet in the cache: so many that chance moves their mean by less than what a target leaves.
RUNS = {1: 2, 10: 2, 4: 8, 5: 8, 6: 16}
WATCHED_MOST = 1.0          # added by audit and top to the same, per cent
EVENT_MOST = 1500           # added by them to a transition of one chunk

AUDIT = "llbitmapctl audit --json"
TOP = "llbitmapctl top --json > /dev/null"


class Watchers:
    """with Watchers(vm, AUDIT, TOP): ...; they are attached while the block runs.

    They have to end with one of `statuses`.
    """

    def __init__(self, vm, *commands, statuses=(0,)):
        self.vm = vm
        self.commands = commands
        self.statuses = statuses
        self.running = []

    def _attached(self):
        programs = json.loads(self.vm.run("bpftool --json prog list").stdout)
        return sum(program.get("name") == "on_transition" for program in programs)

    def __enter__(self):
        for number, command in enumerate(self.commands, 1):
            self.running.append(self.vm.spawn(command, timeout=100_000))
            deadline = time.monotonic() + 30 * self.vm.scale
            while self._attached() < number:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{command}: {self.running[-1].output()}")
                time.sleep(0.5)
        self.vm.run("sleep 2")      # the first looks at everything are over
        return self

    def __exit__(self, *_):
        for process in self.running:
            process.signal(signal.SIGINT)
        results = [process.wait(check=False) for process in self.running]
        for command, result in zip(self.commands, results):
            if result.rc not in self.statuses:
                raise RuntimeError(f"{command} ended with {result.rc}: {result}")
        self.stdout = [result.stdout for result in results]


def watched(vm, array, writes, level, alone):
    """What audit and top add to such writes, per cent of what they cost alone."""
    with Watchers(vm, AUDIT, TOP):
        return 100 * (ramdisks.steady_writes(vm, array, writes, level).each / alone - 1)


def steady_costs(vm, level, writes, bitmaps):
    """{bitmap: instructions of a write, of each run}, to chunks that are Dirty already.

    The bitmaps take turns, each on an array of its own, so that what changes meanwhile meets all."""
    costs = {bitmap: [] for bitmap in bitmaps}
    for _ in range(RUNS[level]):
        for bitmap, runs in costs.items():
            array = ramdisks.create(vm, level, bitmap)
            run = ramdisks.steady_writes(vm, array, writes, level)
            array.destroy()
            if run.count != writes:
                raise RuntimeError(f"{run.count} writes, not {writes}")
            runs.append(run.each)
    return costs


def added(costs, bitmap):
    """(what a bitmap adds to a write above none, the standard error of that)"""
    both = costs[bitmap], costs["none"]
    more, less = map(statistics.mean, both)
    return more - less, math.hypot(*(statistics.stdev(runs) / math.sqrt(len(runs)) for runs in both))


def steady(vm, level, writes):
    """Steady writes without bitmap, with a classic one, with llbitmap, and watched."""
    costs = steady_costs(vm, level, writes, ramdisks.BITMAPS)
    array = ramdisks.create(vm, level, "llbitmap")
    more = watched(vm, array, writes, level, statistics.mean(costs["llbitmap"]))
    command = ramdisks.steady_command(array, writes)
    array.destroy()
    yield Figure(f"steady write, RAID{level}", "instructions", added(costs, "llbitmap")[0],
                 STEADY_MOST[level], command, none=statistics.mean(costs["none"]),
                 classic=added(costs, "classic")[0], signed=True)
    yield Figure(f"... audit and top attached, RAID{level}", "%", more, WATCHED_MOST,
                 f"{AUDIT} & {TOP} & {command}", signed=True, digits=2)


def each_event(vm):
    """Writes that make one chunk Dirty each, with and without somebody who watches."""
    array = ramdisks.create(vm, 1, "llbitmap")
    chunks = array.metadata()["chunks"]
    command = ramdisks.each_chunk_command(array, chunks)

    def cost():
        writes = ramdisks.run_writes(vm, array, f"echo 1 > {array.sysfs}/llbitmap/flush", command)
        if writes.count != chunks or writes.dirty != [0, chunks]:
            raise RuntimeError(f"{chunks} chunks, {writes.count} writes, Dirty: {writes.dirty}")
        return writes

    cost()      # the ramdisks' memory is there afterwards
    alone = cost().each
    for name, watchers in (("audit", [AUDIT]), ("audit and top", [AUDIT, TOP])):
        with Watchers(vm, *watchers) as attached:
            writes = cost()
        seen = json.loads(attached.stdout[0])
        events = seen["events"]
        if seen["verdict"] != "pass" or not events["transition"] >= writes.count:
            raise RuntimeError(f"audit did not see it all: {seen}")
        if events["writeback"] > writes.count / 8:
            raise RuntimeError(f"too many other events among the transitions: {events}")
        yield Figure(f"transition, count 1, {name} attached", "instructions",
                     writes.each - alone, EVENT_MOST, f"{' & '.join(watchers)} & {command}",
                     signed=True)
    array.destroy()


def measure(vm, quick):
    ramdisks.load_ramdisks(vm)
    for level in ramdisks.LEVELS:
        yield from steady(vm, level, 40_000 if quick else WRITES)
    yield from each_event(vm)
