#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Stateful testing in large numbers: `make stateful`.

Some scripts at a time on the level that had least of it, until the minutes or the examples are over.
What was done is not done again: progress stands in build/stateful/progress.json, and the same command
goes on after Ctrl-C; when all is over, and on other modules, it begins anew. Exit status 1 if anything
was found, before Ctrl-C too, and if there is an operation that a level never did; what was found is
printed as a script for kept.py, and stays in build/stateful.
"""
import argparse
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "vm"), str(HERE)]

from sidebyside.broken import SEARCHED, is_seen, modules
from sidebyside.operations import OPERATIONS
from sidebyside.rig import VM
from sidebyside.search import Search, Stage
from sidebyside.shape import DISKS
from vmtest import Environment
from vmtest.campaign import Rounds, interruptible
from vmtest.environment import build_dir
from vmtest.machine import VM as Machine
from vmtest.machine import VMOptions
from vmtest.slot import Directories

LENGTH = 8              # passages of a script
EACH = 4                # scripts of a level in one round


class Boots:
    """boot() for a Stage."""

    def __init__(self, broken):
        self.environment, self.directories = Environment(), Directories()
        self.options = VMOptions(**VM, modules=modules(broken) if broken else "")
        self.machine = None

    def key(self):
        return self.environment.tested(self.options.modules)

    def __call__(self):
        self.close()
        self.machine = Machine(self.environment, self.directories.take("stateful"), self.options)
        return self.machine.boot()

    def close(self):
        if self.machine:
            self.machine.stop()
        self.machine = None
        self.directories.release()


def one_round(stage, level, progress, examples, seconds):
    search = Search(stage, level, progress.seed, progress.sum("scripts", level=level))
    started = time.monotonic()
    finding = search.run(min(EACH, examples), seconds, LENGTH, kills=True)
    progress.add(level=level, seconds=time.monotonic() - started, scripts=search.played,
                 operations=sum(search.operations.values()), names=search.operations,
                 findings=int(bool(finding)), text=finding.text if finding else "")
    print(f"{search.summary()} ({progress.done[-1]['seconds']:.0f} s)", flush=True)
    if finding:
        path = build_dir() / "stateful" / f"found-{progress.seed}-{len(progress.done)}-raid{level}"
        path.write_text(f"{finding}\n")
        print(f"{finding}\n(also in {path})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="20 by default")
    parser.add_argument("--examples", type=int, default=1 << 30, help="or so many scripts in all")
    parser.add_argument("--seed", type=int, help="the same scripts again")
    parser.add_argument("--level", type=int, action="append", choices=DISKS,
                        help="only this level (again for more)")
    parser.add_argument("--broken", choices=SEARCHED, metavar="NAME", help="with modules that have "
                        "this bug of tests/vm/bugs or tests/vm/breaks.py: it must be found, on its "
                        "level, as what it is; one of " + ", ".join(SEARCHED))
    options = parser.parse_args()
    return interruptible(lambda: carry_out(options))


def left(progress, options):
    """(seconds, scripts) that are still to be done."""
    return (options.minutes * 60 - progress.sum("seconds"),
            options.examples - progress.sum("scripts"))


def carry_out(options):
    folder = build_dir() / "stateful"
    folder.mkdir(parents=True, exist_ok=True)
    boots = Boots(options.broken)
    progress = Rounds.load(None if options.broken else folder / "progress.json", options.seed,
                           lambda rounds: min(left(rounds, options)) <= 0, boots.key())
    print(f"seed {progress.seed}, {progress.sum('scripts')} scripts were played before, in "
          f"{progress.sum('seconds'):.0f} s", flush=True)
    stage = Stage(boots)
    levels = options.level or (list(DISKS) if not options.broken else [SEARCHED[options.broken][0]])
    try:
        while min(left(progress, options)) > 0:
            seconds, examples = left(progress, options)
            level = min(levels, key=lambda level: progress.sum("seconds", level=level))
            one_round(stage, level, progress, examples, seconds)
            if options.broken and noticed(progress, options.broken):
                break
    finally:
        boots.close()
    print(f"seed {progress.seed}: {progress.sum('scripts')} scripts, {progress.sum('operations')} "
          f"operations, {progress.sum('findings')} findings")
    for level in levels:
        done = operations(progress, level)
        print(f"RAID{level}: " + ", ".join(f"{name} {done.get(name, 0)}" for name in OPERATIONS))
    return status(progress, levels, options.broken)


def operations(progress, level):
    """{name: how often it was done} on this level."""
    done = {}
    for one in progress.done:
        for name, count in one["names"].items() if one["level"] == level else ():
            done[name] = done.get(name, 0) + count
    return done


def left_out(progress, level):
    """Operations that were never done on this level, and are possible there."""
    impossible = ["fail_two"] if level == 5 else []
    return sorted(OPERATIONS.keys() - operations(progress, level).keys() - set(impossible))


def noticed(progress, broken):
    """Whether some finding is what this bug is found as."""
    return any(is_seen(broken, one["text"]) for one in progress.done)


def status(progress, levels, broken):
    """Of all rounds there are, those before the last Ctrl-C too."""
    if broken:
        print(f"{broken} was {'found' if noticed(progress, broken) else 'NOT found'}")
        return int(not noticed(progress, broken))
    lazy = {level: names for level in levels if (names := left_out(progress, level))}
    for level, names in lazy.items():
        print(f"RAID{level} does not count: nothing was done of {', '.join(names)}; more MINUTES go on")
    return int(bool(lazy or progress.sum("findings")))


if __name__ == "__main__":
    sys.exit(main())
