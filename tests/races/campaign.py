#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Races: the tests of the VM and a load of everything at once on debug kernels: `make races`.

For each kernel first the test files, then the load, round after round on the level that had least of
it, until the minutes are over. Progress stands in build/races/<kernel>.json: the same command goes on
after Ctrl-C, and repeats nothing; on other modules it begins anew. Exit status 1 if anything was found,
before or after Ctrl-C.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
from xml.etree import ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "vm"), str(HERE)]

import debug
import load
from vmtest import Environment, kernel_log
from vmtest.campaign import Rounds, interruptible
from vmtest.environment import TOP, build_dir
from vmtest.errors import TROUBLE
from vmtest.judge import Watch
from vmtest.machine import VM, VMOptions
from vmtest.slot import Directories

EACH = 300              # seconds of load in one round
# One access in 100 is watched, not in 200: md alone is instrumented. With 20 no recovery came to its end.
CMDLINE = {"kasan": "", "kcsan": "kcsan.skip_watch=100"}
NOT = "not passed"


def loaded(progress, **where):
    """Seconds of load so far."""
    return progress.sum("seconds", **where)


def outcomes(report):
    """{"level 10": passed, "no level": passed, NOT: skipped or failed} of a file of tests that pytest
    has reported on in this XML."""
    counts = {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        level = case.find("properties/property[@name='level']")
        where = "no level" if level is None else f"level {level.get('value')}"
        if any(one.tag in ("error", "failure", "skipped") for one in case):
            where = NOT
        counts[where] = counts.get(where, 0) + 1
    return counts


def one_file(path, long):
    """(path, passed, what pytest said, outcomes()) of one file of tests."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--junitxml={report}",
             *([] if long else ["-m", "not long"]), path],
            cwd=TOP, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        counts = outcomes(report.read_text(encoding="utf-8")) if report.exists() else {}
    return path, done.returncode in (0, 5), done.stdout + done.stderr, counts


def waiting(options, progress):
    """The files of tests that were not run yet, or not with what is long."""
    done = {one.get("file") for one in progress.done if one.get("long", False) >= options.long}
    return [file for file in options.tests if file not in done]


def suite(options, progress, folder):
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = [pool.submit(one_file, file, options.long) for file in waiting(options, progress)]
        try:
            for future in concurrent.futures.as_completed(running):
                path, fine, text, counts = future.result()
                (folder / f"{pathlib.Path(path).stem}.log").write_text(text, encoding="utf-8")
                progress.add(file=path, long=options.long, seconds=0, found=not fine, counts=counts)
                print(f"{'passed' if fine else 'FAILED'} {path}: "
                      f"{text.strip().splitlines()[-1] if text.strip() else ''}", flush=True)
                if not fine:
                    print(text, flush=True)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


@contextlib.contextmanager
def no_longer_than(vm, pattern):
    """Ends the VM as soon as its kernel says that, but in what is explained; never, if it is ""."""
    over = threading.Event()

    def look():
        seen = 0
        # twice: the end of a report may say that it is explained
        while seen < 2 and not over.wait(2):
            text = "\n".join(kernel_log.unexplained(vm.log.text()))
            seen = seen + 1 if re.search(pattern, text) else 0
        if seen == 2:
            vm.power_cut()

    looking = threading.Thread(target=look)
    if pattern:
        looking.start()
    try:
        yield
    finally:
        over.set()
        if pattern:
            looking.join()


def one_round(one, flavour, until=""):
    """(what was done, what was found) of a round, on a VM of its own, which ends as soon as its
    kernel says what the regular expression `until` matches."""
    directories = Directories()
    vm = VM(Environment(), directories.take(f"races-{flavour}"),
            VMOptions(**load.VM, cmdline=CMDLINE[flavour]))
    done, found = {}, ""
    try:
        vm.boot()
        watch = Watch(vm)
        try:
            with no_longer_than(vm, until):
                done = load.play(vm, one)
        except TROUBLE as error:
            found = f"{type(error).__name__}: {error}"
        found = "\n".join(filter(None, (found, watch.finish([]))))
        if found and vm.log.path.exists():
            (build_dir() / "races" / f"{flavour}-{one.seed}.log").write_text(vm.log.text())
    finally:
        vm.stop()
        directories.release()
    return done, found


def rounds(flavour, progress, folder, options):
    """The load. Gives what was found now, as texts."""
    texts = []
    levels = options.level or list(load.LEVELS)
    each = min(EACH, max(60, int(options.minutes * 60 / len(levels))))
    while (left := options.minutes * 60 - loaded(progress)) > 0:
        number = sum("level" in one for one in progress.done)
        level = min(levels, key=lambda level: loaded(progress, level=level))
        # every other round, so that a round of each level is enough for both
        odd = sum(one.get("level") == level for one in progress.done) % 2
        one = load.Round(level, progress.next_seed(number), min(each, max(60, int(left))),
                         failfast=level in load.FAILFAST and bool(odd) == (level == 1))
        print(f"{flavour}: {one}", flush=True)
        begin = time.monotonic()
        until = debug.seen_as(options.broken) if options.broken else ""
        done, found = one_round(one, flavour, until)
        progress.add(level=one.level, seed=one.seed, seconds=one.seconds, found=bool(found), **done)
        print(f"  {done} ({time.monotonic() - begin:.0f} s)", flush=True)
        if found:
            texts.append(found)
            (folder / f"found-{one.seed}").write_text(found, encoding="utf-8")
            print(f"{found}\n(also in {folder / f'found-{one.seed}'})", flush=True)
            if options.broken and re.search(until, found):
                break
    return texts


def suite_passed(progress):
    """outcomes() of all files; of one that was run twice, the last time."""
    last = {one["file"]: one["counts"] for one in progress.done if "file" in one}
    counts = collections.Counter()
    for one in last.values():
        counts.update(one)
    return counts


def verdict(flavour, progress, options):
    """True if nothing was found, now or before, and each level had what it must."""
    levels = options.level or list(load.LEVELS)
    found = [one.get("file") or f"raid{one['level']}, seed {one['seed']}"
             for one in progress.done if one["found"]]
    for one in found:
        print(f"{flavour}: found in {one}")
    lazy = False
    for level in levels:
        missing = load.left_out([one for one in progress.done if one.get("level") == level])
        if missing:
            print(f"{flavour}: the load of RAID{level} does not count, nothing was done of {missing}")
            lazy = True
    if options.tests:
        passed = suite_passed(progress)
        print(f"{flavour}: tests of the VM that passed: "
              + ", ".join(f"{passed[where]} ({where})" for where in sorted(passed) if where != NOT)
              + f"; {passed[NOT]} were skipped or failed"
              + ("" if options.long else "; the long ones were not run (RACES_LONG=1)"))
        for level in levels if options.long else ():
            if not passed[f"level {level}"]:
                print(f"{flavour}: no test of the VM passed on RAID{level}")
                lazy = True
    return not found and not lazy


def over(progress, options):
    return loaded(progress) >= options.minutes * 60 and not waiting(options, progress)


def carry_out(options):
    flavours = options.kernel or debug.FLAVOURS
    # all of them first: what is remembered of one is told by its modules
    built = {flavour: debug.build(flavour, options.broken) for flavour in flavours}
    for flavour in flavours:
        (build_dir() / "races" / flavour).mkdir(parents=True, exist_ok=True)

    def remembered(flavour, forget=False):
        return Rounds.load(None if options.broken else build_dir() / "races" / f"{flavour}.json",
                           options.seed, lambda _: forget,
                           pathlib.Path(built[flavour]["LLBITMAP_MODULES"]).name)

    # what is over begins anew, but not before all of it is over
    anew = all(over(remembered(flavour), options) for flavour in flavours)
    good = True
    for flavour in flavours:
        os.environ.update(built[flavour])
        folder = build_dir() / "races" / flavour
        progress = remembered(flavour, anew)
        print(f"{flavour}: seed {progress.seed}, {loaded(progress)} s of load and "
              f"{sum('file' in one for one in progress.done)} files of tests before", flush=True)
        if options.broken:
            noticed = any(re.search(debug.seen_as(options.broken), text)
                          for text in rounds(flavour, progress, folder, options))
            print(f"{flavour}: {options.broken} was {'found' if noticed else 'NOT found'}")
            good &= noticed
        else:
            suite(options, progress, folder)
            rounds(flavour, progress, folder, options)
            good &= verdict(flavour, progress, options)
    return int(not good)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", action="append", choices=debug.FLAVOURS, help="only this one")
    parser.add_argument("--minutes", type=float, default=30, help="of load on each; 30 by default")
    parser.add_argument("--seed", type=int, help="the same rounds again")
    parser.add_argument("--level", type=int, action="append", choices=load.LEVELS)
    parser.add_argument("--long", action="store_true", help="tests that make check has no time for, too")
    parser.add_argument("--jobs", type=int, default=2, help="test files at a time")
    parser.add_argument("--broken", default="", choices=debug.BUGS, metavar="NAME",
                        help="with this bug of planted/: it must be found; no tests are run")
    parser.add_argument("tests", nargs="*", help="files of tests to run before")
    options = parser.parse_args()
    return interruptible(lambda: carry_out(options))


if __name__ == "__main__":
    sys.exit(main())
