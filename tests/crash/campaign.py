#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Power cuts in large numbers: rounds of load on every level, until enough states were judged.

Each round boots a VM and puts the load of tests/crash/README.md on one array of each level, while
a member leaves and comes back, is replaced, chunks are synced, or the array grows and shrinks: all
that may happen to a level, before anything happens to it again. It goes on where it was stopped
(Ctrl-C); when it is through, or the modules are others, the next call begins a new one. With --level
or --during it counts for itself. With --broken the kernel is broken on purpose, and a violation of
the rule by which that is known to be found ends it.

A state that the kernel cannot assemble is a violation.

Exit status: 0 no violation, and enough was looked at on each level (with --broken: it was found), 1
otherwise.
"""
import argparse
import pathlib
import random
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "vm"), str(HERE)]

from powercut import meanwhile, orders, resizes
from powercut.crash import CrashTest
from powercut.scene import DISKS, KINDS, Scene
from vmtest import Environment
from vmtest.campaign import Rounds, interruptible
from vmtest.environment import build_dir
from vmtest.errors import TROUBLE
from vmtest.slot import Directories

SECONDS = 8
MOMENTS, EACH = 150, 4
ASSEMBLED = 24          # of the states of an array are given to the kernel
IN_FLIGHT, GIVEN = 0.5, 0.03        # of the states of each level, at least
SHARE = 0.15            # of all states, on each level
CHECKED = 20            # times each rule, on each array
# without one of each, a level was not looked at
NEEDED = {"a member that comes back": {"re_add", "come_and_go"}, "a size change": {"resize"},
          "a recovery": {"replace", "unsynced", "freeze", "fail_again", "two_fail"}}


def missing(progress, wanted):
    return wanted - progress.sum("states")


def too_little(progress, levels, during=None):
    """What was not looked at as much as it has to be, of all that was done."""
    for level in levels:
        states = progress.sum("states", level=level)
        if states < SHARE * progress.sum("states"):
            yield f"RAID{level}: less than {SHARE:.0%} of all states"
        judged = [one for one in progress.done if one["level"] == level and one["states"]]
        for need, names in NEEDED.items():
            if not during and not names & {one["what"] for one in judged}:
                yield f"RAID{level}: no array with {need}"
        for one in judged:
            if one["checked"] < CHECKED:
                yield f"RAID{level}: {one['what']}: a rule had only {one['checked']} things to check"
        for field, what, share in (("in_flight", "had a bitmap write in flight", IN_FLIGHT),
                                   ("assembled", "were assembled", GIVEN)):
            if not states or progress.sum(field, level=level) < share * states:
                yield f"RAID{level}: less than {share:.0%} of the states {what}"


def summary(progress):
    width = max(len(f"RAID{level}") for level in DISKS)
    for level in (*DISKS, None):
        where = {} if level is None else {"level": level}
        yield (f"{f'RAID{level}' if where else 'all':{width}}  "
               f"{progress.sum('states', **where):6} states, "
               f"{progress.sum('in_flight', **where):6} with a bitmap write in flight, "
               f"{progress.sum('assembled', **where):4} assembled, "
               f"{progress.sum('violations', **where)} violations")


def loads(level):
    """What may happen to an array of this level: name -> function of the scene, as Scene.record()"""
    def during(what):
        return lambda scene: scene.record(level, DISKS[level], SECONDS, what)

    return {"resize": lambda scene: resizes.resize(scene, level, DISKS[level], SECONDS),
            **{what.__name__: during(what) for what in meanwhile.all_for(level)}}


def next_load(progress, level):
    """The name of what happens to the next array of this level: in an order that the seed gives,
    first what no level may lack, and nothing again before all of it."""
    names = list(loads(level))
    cycle, index = divmod(sum(one["level"] == level and one["what"] in names
                              for one in progress.done), len(names))
    rng = random.Random(f"{progress.seed} {level} {cycle}")
    rng.shuffle(names)
    first = [next(name for name in names if name in needed) for needed in NEEDED.values()]
    rng.shuffle(first)
    return [*first, *(name for name in names if name not in first)][index]


def nothing(level, what, seed):
    """The fields of Rounds.add() of which nothing was looked at yet, but for the violations."""
    return {"level": level, "what": what, "seed": seed, "entries": 0, "states": 0, "in_flight": 0,
            "assembled": 0, "checked": 0, "rules": []}


class Looked:
    """What was recorded of one array, judged."""

    def __init__(self, scene, level, what, seed):
        self.scene, self.level, self.seed = scene, level, seed
        self.fields = nothing(level, what, seed)
        self.found = []
        self.rules = set()

    def judge(self, recording, name, moments, images=0):
        """Gives the CrashTest."""
        test = CrashTest(recording, self.seed).run(moments, EACH, images)
        violations = [*test.judge.violations, *test.violations]
        self.rules |= {one.rule for one in violations}
        self.found += [f"{name}{one}" for one in violations]
        if violations:
            self.found.append(self.keep(recording, "-again" if name else ""))
        for field, more in (("entries", len(recording.log)), ("states", len(test.seen)),
                            ("in_flight", test.in_flight)):
            self.fields[field] += more
        return test

    def keep(self, recording, suffix=""):
        path = build_dir() / "crash" / f"log-{self.seed}-raid{self.level}{suffix}.pickle"
        recording.keep(path, self.seed)
        return f"the log is in {path}"

    def assemble(self, array, images, recording):
        for image in images:
            try:
                self.scene.assemble(array, image)
                array.stop()
            except TROUBLE:
                print(f"after a power cut at entry {image.position}; {self.keep(recording)}")
                raise
            wrong = image.compare({disk.index: disk.path for disk in array.members})
            self.found += [f"assembled at entry {image.position}: {text}" for text in wrong]
            self.rules |= {"assembled"} if wrong else set()
        self.fields["assembled"] += len(images)

    def again(self, array, image):
        """What is logged and judged as well: assembly, resync and load after a power cut."""
        recording = self.scene.record_again(array, image, self.level, SECONDS / 4)
        self.judge(recording, f"after a power cut at entry {image.position}: ", MOMENTS // 4)


def one_array(scene, level, what, seed, images):
    """Records, judges and assembles so many states; gives (the fields of Rounds.add(), what was
    found)."""
    array, recording = loads(level)[what](scene)
    looked = Looked(scene, level, what, seed)
    test = looked.judge(recording, "", MOMENTS, images)
    images = test.images
    looked.assemble(array, images, recording)
    if images and what != "resize":
        looked.again(array, images[seed % len(images)])
    scene.vm.clean_up()
    scene.server.logging = True
    return {**looked.fields, "checked": min(test.judge.checked.values()),
            "rules": sorted(looked.rules), "violations": len(looked.found)}, looked.found


def one_round(environment, directories, progress, number, options):
    """All levels in one VM, the least looked at first. True if something was found: with
    options.broken, by the rule of that."""
    seed = progress.next_seed(number)
    scene = Scene(environment, directories.take("crash"), KINDS, seed,
                  orders.modules(options.broken) if options.broken else "")
    bad = False
    try:
        if options.broken.isdigit():
            scene.breaks(options.broken)
        for level in sorted(options.level, key=lambda level: progress.sum("states", level=level)):
            started = time.monotonic()
            during, rule = orders.ways(options.broken)[level] if options.broken else (None, None)
            during = options.during or during
            what = during if during in loads(level) else next_load(progress, level)
            try:
                fields, found = one_array(scene, level, what, seed, 0 if options.broken else ASSEMBLED)
            except TROUBLE as error:        # the VM is of no more use
                if options.broken:
                    raise                   # no violation that was looked for
                progress.add(**nothing(level, what, seed), violations=1)
                print(f"round {number} RAID{level} {what}: {type(error).__name__}: {error}", flush=True)
                return True
            progress.add(**fields)
            print(f"round {number} RAID{level} {fields['what']}: {fields['entries']} entries, "
                  f"{fields['states']} states, {fields['assembled']} assembled, "
                  f"{fields['violations']} violations ({time.monotonic() - started:.0f} s; "
                  f"{max(missing(progress, options.states), 0)} states to go)", flush=True)
            for text in found[:20]:
                print(f"  {text}")
            bad = bad or (rule in fields["rules"] if options.broken else bool(found))
            if bad and options.broken:
                print(f"found: {rule}")
                return True
        trouble = scene.trouble()
        if trouble and not options.broken:
            print(f"the kernel log has trouble:\n{trouble}")
            progress.add(**nothing(level, "kernel log", seed), violations=1)
            bad = True
    finally:
        scene.close()
        directories.release()
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=10000, help="distinct ones, 10000 by default")
    parser.add_argument("--seed", type=int, help="of data and choices; threads run as they run")
    parser.add_argument("--level", type=int, action="append", choices=DISKS,
                        help="only this level (again for more)")
    parser.add_argument("--broken", default="", metavar="WHAT",
                        choices=orders.NAMES, help="an order of mutations/order.patch or a break of "
                        "tests/vm/breaks.py that must be found: %(choices)s")
    parser.add_argument("--during", choices=loads(1), help="what happens under load, where it can; "
                        "else chosen by the seed")
    options = parser.parse_args()
    known = orders.ways(options.broken) if options.broken else DISKS
    options.level = sorted(options.level or known)
    if not set(options.level) <= set(known):
        parser.error(f"{options.broken} is to be found on level {', '.join(map(str, known))} only")
    return interruptible(lambda: carry_out(options))


def progress_file(options):
    """For each choice of levels and loads another: neither ends what the other has begun."""
    levels = [] if options.level == sorted(DISKS) else [f"raid{level}" for level in options.level]
    name = "-".join(["progress", *levels, *filter(None, [options.during])])
    return build_dir() / "crash" / f"{name}.json"


def carry_out(options):
    path = progress_file(options)
    path.parent.mkdir(parents=True, exist_ok=True)
    environment, directories = Environment(), Directories()
    progress = Rounds.load(None if options.broken else path, options.seed,
                           over=lambda rounds: missing(rounds, options.states) <= 0,
                           key=environment.tested())
    print(f"seed {progress.seed}, {progress.sum('states')} of {options.states} states judged",
          flush=True)
    number, bad = len({array["seed"] for array in progress.done}), progress.sum("violations") > 0
    while missing(progress, options.states) > 0 and not (bad and options.broken):
        number += 1
        before = progress.sum("states")
        bad = one_round(environment, directories, progress, number, options) or bad
        if progress.sum("states") == before:
            break                           # nor would the next one come to anything
    print("\n".join(summary(progress)))
    if options.broken:
        return int(not bad)
    little = list(too_little(progress, options.level, options.during))
    print(*little, sep="\n")
    return int(bad or bool(little))


if __name__ == "__main__":
    sys.exit(main())
