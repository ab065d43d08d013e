#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Each call of the bitmap that can fail made to fail, in each phase, on each level: `make faults`.

First a run of the phase in which only what it reaches is counted, then one for each time that it
reaches a point, on the same array. A phase of a level is a piece of work, and so is each group of
tests with failing devices; each ends with the verdict of the audit that watched it. Pieces that are
done are in build/faults/progress.json, and the same command goes on after Ctrl-C. The seed chooses
what comes after each fault: the array goes on, is stopped, or the power is cut.

A fault whose call was not reached this time is reported, and is no run.

Exit status: 0 nothing wrong, every point failed on each level, and in each phase all that it
reaches (with --broken: what that bug does was found), or 1.
"""
import argparse
import os
import pathlib
import random
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
sys.path.insert(0, str(TESTS / "vm"))       # faultpoints knows what else it needs

from faultpoints import bugs, phases, plan, run
from faultpoints.stage import Fault
from vmtest import Environment
from vmtest.campaign import Rounds, interruptible
from vmtest.environment import build_dir
from vmtest.slot import Directories

LEVELS = (1, 10, 5, 6)

# members that fail, by device-mapper; the tests themselves say what must hold
DEVICES = {
    "the bitmap of a member fails, and comes back": (
        "test_members.py::test_member_that_fails_bitmap_writes",
        "test_members.py::test_member_that_fails_bitmap_set_bits",
        "test_faults.py::test_member_that_md_keeps_refuses_the_bitmap",
        "test_faults.py::test_read_error_while_writes_wait_for_the_superblock"),
    "no member takes the bitmap; the power is cut": (
        "test_members.py::test_no_member_takes_bitmap_writes",
        "test_faults.py::test_bitmap_is_given_up_as_the_array_goes_clean"),
    "the bitmap cannot be read": (
        "test_faults.py::test_bitmap_is_read_from_one_member",
        "test_faults.py::test_other_members_have_no_bitmap_either"),
    "a writer that may not wait": ("test_write.py::test_nowait",),
    "memory is short": ("test_stress.py::test_memory_is_short",),
}


class Campaign:
    def __init__(self, options, rounds, modules):
        self.options, self.rounds = options, rounds
        self.points = run.points()
        self.directories = Directories()
        self.runner = run.Runner(Environment(), self.directories.take("faults"), modules)
        self.bad = rounds.sum("wrong") > 0
        self.noticed = False        # the bug that was asked for

    # -- pieces ------------------------------------------------------------------------------------

    def pieces(self):
        """(name, level, function that does it) of all."""
        if not self.options.phase:
            yield "load", 0, self.load
        for name in self.options.phase or phases.ALL:
            for level in self.options.level or LEVELS:
                yield name, level, self.phase
        if not self.options.level and not self.options.phase and not self.options.broken:
            for name in DEVICES:
                yield name, 0, self.devices

    def load(self, name, level, rng):
        yield from self.runner.loading()

    def phase(self, name, level, rng):
        return plan.faults_of(self.runner, self.points, level, name, rng)

    def devices(self, name, level, rng):
        self.runner.drop()                  # what its audit saw was judged with the piece before
        started = time.monotonic()
        done = subprocess.run(
            ["/usr/bin/python3", "-m", "pytest", "-q", "-m", "long or not long",
             *(str(TESTS / "vm" / one) for one in DEVICES[name])],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        print(f"{name}: {done.stdout.strip().splitlines()[-1]} "
              f"({time.monotonic() - started:.0f} s)", flush=True)
        yield Tested(done)

    # -- all of it ------------------------------------------------------------------------------

    def one(self, name, level, work, number):
        started, tally = time.monotonic(), Tally(self.points)
        for report in work(name, level, random.Random(self.rounds.next_seed(number))):
            tally.note(report)
            if report.wrong or report.missed or self.options.verbose:
                print(report, flush=True)
            if self.is_it(report.wrong):
                break
        said = self.runner.verdict()
        tally.wrong += len(said)
        print(*(f"    WRONG: {text}\n" for text in said), sep="", end="", flush=True)
        self.is_it(said)
        self.rounds.add(piece=name, level=level, **tally.fields())
        where = f"RAID{level} " if level else ""
        print(f"{where}{name}: {tally} ({time.monotonic() - started:.0f} s)", flush=True)
        self.bad |= tally.wrong > 0

    def is_it(self, wrong):
        """Whether it is what the bug does that was asked for."""
        if self.options.broken:
            self.noticed |= bugs.shows(self.options.broken, wrong)
        return self.noticed

    def everything(self):
        done = {(one["piece"], one["level"]) for one in self.rounds.done}
        for number, (name, level, work) in enumerate(self.pieces()):
            if (name, level) not in done:
                self.one(name, level, work, number)
            if self.noticed:
                break

    def give_up(self):
        """Whatever is under way."""
        self.runner.drop()
        self.directories.release()

    def never_failed(self):
        """{where: points that should have failed there, and did not}"""
        levels = [] if self.options.phase else self.options.level or LEVELS
        return never_failed(self.points, self.rounds.done, levels)


def never_failed(points, done, levels):
    """{where: points}: reached by a piece of work and never failed in it, or never failed on one of
    these levels. What fails while the modules are loaded counts for each, as there is no array."""
    found = {f"RAID{one['level']} {one['piece']}": set(one["points"]) - set(one["failed"])
             for one in done}
    for level in levels:
        failed = {point for one in done if one["level"] in (0, level) for point in one["failed"]}
        found[f"RAID{level}"] = set(points) - failed
    return {where: sorted(names) for where, names in found.items() if names}


class Tally:
    """What came of a piece of work."""

    def __init__(self, points):
        self.points = points
        self.runs = self.missed = self.wrong = 0
        self.there = set()                  # points that are reached, when nothing fails
        self.failed = set()
        self.faulted = self.reached = 0     # times that they are

    def note(self, report):
        self.runs += not report.missed
        self.missed += report.missed
        self.wrong += bool(report.wrong)
        self.failed |= {point for point, (_, fails) in report.hits.items() if fails}
        if not report.fault.point:          # the first of a phase only counts
            self.there = set(report.hits) & set(self.points)
            self.faulted, self.reached = plan.reaches(self.points, report.hits)

    def fields(self):
        return {"faults": self.runs, "missed": self.missed, "wrong": self.wrong,
                "points": sorted(self.there), "failed": sorted(self.failed),
                "faulted": self.faulted, "reached": self.reached}

    def __str__(self):
        return (f"{self.runs} runs, {len(self.failed)} of {len(self.there)} points failed, at "
                f"{self.faulted} of the {self.reached} times that they are reached, "
                f"{self.missed} faults were not reached, {self.wrong} wrong")


class Tested:
    """Tests that ran, as a Report."""

    missed = False
    fault = Fault()

    def __init__(self, done):
        self.hits = {}
        self.text = done.stdout
        self.wrong = [f"status {done.returncode}"] if done.returncode else []

    def __str__(self):
        return self.text


def carry_out(options):
    folder = build_dir() / "faults"
    folder.mkdir(parents=True, exist_ok=True)
    part = options.broken or options.level or options.phase
    modules = run.modules(*[options.broken] if options.broken else [])
    rounds = Rounds.load(None if part else folder / "progress.json", options.seed,
                         key=f"{pathlib.Path(modules).name} by phase")
    print(f"seed {rounds.seed}, {len(rounds.done)} pieces of work are done", flush=True)
    campaign = Campaign(options, rounds, modules)
    try:
        campaign.everything()
    finally:
        campaign.give_up()
    print(f"seed {rounds.seed}: {rounds.sum('faults')} runs, {rounds.sum('missed')} faults that "
          f"were not reached, {rounds.sum('wrong')} wrong")
    if options.broken:
        print(f"{options.broken} was {'found' if campaign.noticed else 'NOT found'}")
        return int(not campaign.noticed)
    never = campaign.never_failed()
    for where, names in never.items():
        print(f"never failed, {where}: {', '.join(names)}")
    if not part:
        rounds.path.rename(rounds.path.with_name("last.json"))     # the next call begins anew
    return int(campaign.bad or bool(never))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="what comes after each fault")
    parser.add_argument("--level", type=int, action="append", choices=(1, 10, 5, 6),
                        help="only this level (again for more)")
    parser.add_argument("--phase", action="append", choices=phases.ALL,
                        help="only this phase (again for more)")
    parser.add_argument("--broken", choices=bugs.PLANTED, metavar="NAME",
                        help="with modules that have this bug of planted/: it must be found")
    parser.add_argument("--verbose", action="store_true", help="a line for each run")
    options = parser.parse_args()
    return interruptible(lambda: carry_out(options))


if __name__ == "__main__":
    sys.exit(main())
