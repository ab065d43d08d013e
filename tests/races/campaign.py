#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Races: the tests of the VM and a load of everything at once on debug kernels: `make races`.

For each kernel first the test files, then the load, round after round on one level after the other,
until the minutes are over. Progress stands in build/races/<kernel>.json: the same command goes on
after Ctrl-C, and does not repeat a test file that has passed. Exit status 1 if anything was found.
"""
import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "vm"), str(HERE)]

import debug
import load
from vmtest import Environment
from vmtest.campaign import Rounds, interruptible
from vmtest.environment import TOP, build_dir
from vmtest.errors import CommandFailed, CommandTimeout, VMLost, VMPanic
from vmtest.judge import Watch
from vmtest.machine import VM, VMOptions
from vmtest.slot import Directories

EACH = 300              # seconds of load in one round
TROUBLE = (AssertionError, CommandFailed, CommandTimeout, VMLost, VMPanic)


def loaded(progress):
    """Seconds of load so far."""
    return sum(one.get("seconds", 0) for one in progress.done)


def one_file(path):
    """(path, passed, what pytest said) of one file of tests."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "--tb=short", "-m", "not long", path],
                          cwd=TOP, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    return path, done.returncode in (0, 5), done.stdout + done.stderr


def suite(files, progress, folder, jobs):
    """The files of tests that have not passed yet; True if all of them do now."""
    passed = {one["file"] for one in progress.done if one.get("file") and one["passed"]}
    waiting = [file for file in files if file not in passed]
    good = True
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(one_file, file) for file in waiting]
        try:
            for future in concurrent.futures.as_completed(running):
                path, fine, text = future.result()
                (folder / f"{pathlib.Path(path).stem}.log").write_text(text, encoding="utf-8")
                progress.add(file=path, passed=fine)
                good &= fine
                print(f"{'passed' if fine else 'FAILED'} {path}: "
                      f"{text.strip().splitlines()[-1] if text.strip() else ''}", flush=True)
                if not fine:
                    print(text, flush=True)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return good


def check_watching(vm, flavour):
    """A kernel whose sanitizer is off has nothing to report."""
    if flavour == "kcsan":
        vm.run("mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug; "
               "grep -x 'enabled: 1' /sys/kernel/debug/kcsan")


def one_round(one, flavour):
    """(what was done, what was found) of a round, on a VM of its own."""
    directories = Directories()
    vm = VM(Environment(), directories.take(f"races-{flavour}"), VMOptions(**load.VM))
    done, found = {}, ""
    try:
        vm.boot()
        watch = Watch(vm)
        try:
            check_watching(vm, flavour)
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
    """The load; True if nothing was found."""
    good = True
    levels = options.level or list(load.LEVELS)
    while (left := options.minutes * 60 - loaded(progress)) > 0:
        number = sum("level" in one for one in progress.done)
        seconds = min(EACH, max(60, int(left)))
        one = load.Round(levels[number % len(levels)], progress.next_seed(number), seconds)
        print(f"{flavour}: {one}", flush=True)
        begin = time.monotonic()
        done, found = one_round(one, flavour)
        progress.add(level=one.level, seed=one.seed, seconds=seconds, found=bool(found), **done)
        print(f"  {done} ({time.monotonic() - begin:.0f} s)", flush=True)
        if found:
            good = False
            (folder / f"found-{one.seed}").write_text(found, encoding="utf-8")
            print(f"{found}\n(also in {folder / f'found-{one.seed}'})", flush=True)
            if options.broken:
                break
    missing = load.left_out(progress.done)
    if missing and not options.broken:
        print(f"{flavour}: the load does not count, nothing was done of {missing}")
    return good and not missing


def carry_out(options):
    good = True
    for flavour in options.kernel or debug.FLAVOURS:
        debug.use(flavour, options.broken)
        folder = build_dir() / "races" / flavour
        folder.mkdir(parents=True, exist_ok=True)
        progress = Rounds.load(
            None if options.broken else build_dir() / "races" / f"{flavour}.json", options.seed,
            lambda old: loaded(old) >= options.minutes * 60)
        print(f"{flavour}: seed {progress.seed}, {loaded(progress)} s of load and "
              f"{sum('file' in one for one in progress.done)} files of tests before", flush=True)
        if not options.broken and options.tests:
            good &= suite(options.tests, progress, folder, options.jobs)
        good &= rounds(flavour, progress, folder, options)
    return int(good == bool(options.broken))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", action="append", choices=debug.FLAVOURS, help="only this one")
    parser.add_argument("--minutes", type=float, default=30, help="of load on each; 30 by default")
    parser.add_argument("--seed", type=int, help="the same rounds again")
    parser.add_argument("--level", type=int, action="append", choices=load.LEVELS)
    parser.add_argument("--jobs", type=int, default=2, help="test files at a time")
    parser.add_argument("--broken", default="", choices=debug.BUGS, metavar="NAME",
                        help="with this bug of planted/: it must be found; no tests are run")
    parser.add_argument("tests", nargs="*", help="files of tests to run before")
    options = parser.parse_args()
    return interruptible(lambda: carry_out(options))


if __name__ == "__main__":
    sys.exit(main())
