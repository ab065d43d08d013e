#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Power cuts in large numbers: rounds of load on every level, until enough states were judged.

Each round boots a VM and puts the load of tests/crash/README.md on one array of each level, while
a member leaves and comes back, is replaced, chunks are synced, or the array grows and shrinks. It
goes on where it was stopped (Ctrl-C); when it is through, the next call begins a new one. With
--broken N the kernel's order is broken on purpose (mutations/order.patch), and the first violation
ends it.

Exit status: 0 no violation (with --broken: one was found), 1 otherwise.
"""
import argparse
import pathlib
import random
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "vm"), str(HERE)]

from powercut import meanwhile, resizes
from powercut.crash import CrashTest
from powercut.scene import DISKS, KINDS, Scene, broken_modules
from vmtest import Environment
from vmtest.campaign import Rounds, interruptible
from vmtest.environment import build_dir
from vmtest.slot import Directories

SECONDS = 8
MOMENTS, EACH = 150, 4
ASSEMBLED = 33          # one of so many states is given to the kernel


def missing(progress, wanted):
    return wanted - progress.sum("states")


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
            **{what.__name__: during(what) for what in meanwhile.ALL}}


def one_array(scene, level, what, seed, share):
    """Records, judges and assembles; gives (the fields of Rounds.add(), what was found)."""
    array, recording = loads(level)[what](scene)
    test = CrashTest(recording, seed).run(MOMENTS, EACH, MOMENTS * EACH // share)
    found = [str(one) for one in (*test.judge.violations, *test.violations)]
    for image in test.images:
        scene.assemble(array, image)
        array.stop()
        wrong = image.compare({disk.index: disk.path for disk in array.members})
        found += [f"assembled at entry {image.position}: {text}" for text in wrong]
    if found:
        path = build_dir() / "crash" / f"log-{seed}-raid{level}.pickle"
        recording.keep(path, seed)
        found.append(f"the log is in {path}")
    scene.vm.clean_up()
    scene.server.logging = True
    return {"level": level, "what": what, "seed": seed, "entries": len(recording.log),
            "states": len(test.seen), "in_flight": test.in_flight,
            "assembled": len(test.images), "violations": len(found)}, found


def one_round(environment, directories, progress, number, options):
    """All levels in one VM. True if something was found."""
    seed = progress.next_seed(number)
    rng = random.Random(seed)
    modules = broken_modules("order") if options.broken else ""
    scene = Scene(environment, directories.take("crash"), KINDS, seed, modules)
    bad = False
    try:
        if options.broken:
            scene.breaks(options.broken)
        for level in options.level:
            started = time.monotonic()
            fields, found = one_array(scene, level, rng.choice(list(loads(level))), seed,
                                      ASSEMBLED)
            progress.add(**fields)
            print(f"round {number} RAID{level} {fields['what']}: {fields['entries']} entries, "
                  f"{fields['states']} states, {fields['assembled']} assembled, "
                  f"{fields['violations']} violations ({time.monotonic() - started:.0f} s; "
                  f"{max(missing(progress, options.states), 0)} states to go)", flush=True)
            for text in found[:20]:
                print(f"  {text}")
            bad = bad or bool(found)
            if bad and options.broken:
                return True
        trouble = scene.trouble()
        if trouble and not options.broken:
            print(f"the kernel log has trouble:\n{trouble}")
            progress.add(level=level, what="kernel log", seed=seed, entries=0, states=0, in_flight=0,
                         assembled=0, violations=1)
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
    parser.add_argument("--broken", type=int, default=0, metavar="N",
                        help="break order N of mutations/order.patch: it must be found")
    options = parser.parse_args()
    options.level = options.level or list(DISKS)
    return interruptible(lambda: carry_out(options))


def carry_out(options):
    folder = build_dir() / "crash"
    folder.mkdir(parents=True, exist_ok=True)
    progress = Rounds.load(None if options.broken else folder / "progress.json", options.seed,
                           over=lambda rounds: missing(rounds, options.states) <= 0)
    print(f"seed {progress.seed}, {progress.sum('states')} of {options.states} states judged",
          flush=True)
    environment, directories = Environment(), Directories()
    number, bad = len({array["seed"] for array in progress.done}), progress.sum("violations") > 0
    while missing(progress, options.states) > 0 and not (bad and options.broken):
        number += 1
        bad = one_round(environment, directories, progress, number, options) or bad
    print("\n".join(summary(progress)))
    return int(bad != bool(options.broken))


if __name__ == "__main__":
    sys.exit(main())
