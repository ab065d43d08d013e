#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""mdadm's own test suite in VMs: each script that makes a redundant array with 1.2 metadata, on
stock md modules, on ours, and on ours with lockless bitmaps; a table, every difference explained.

It goes on where it was stopped (Ctrl-C), and does again what other modules or another suite did.

Exit status: 0 every difference from the stock modules has its explanation in explained.tsv,
1 one has not, or a run is missing.
"""
import argparse
import hashlib
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "vm"), str(HERE)]

from mdadmsuite import results, runner, selection
from mdadmsuite.crew import Crew
from vmtest import Environment
from vmtest.campaign import interruptible
from vmtest.environment import build_dir
from vmtest.slot import Directories


def suite_directory():
    done = subprocess.run([HERE / "suite"], stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(done.stdout.strip())


def keys(environment, suite):
    """{run: what its results depend on}"""
    def ours(run):
        return hashlib.sha256(b"".join(path.read_bytes() for path in runner.guest_files(run)))

    return {run: f"{suite.name} {environment.tested(choice)} {ours(run).hexdigest()[:8]}"
            for run, choice in runner.RUNS.items()}


def carry_out(environment, crew, suite, found, wanted):
    """The runs that are wanted, (script, run) each; every result is kept at once."""
    long_ones = selection.seconds_of_long_ones(suite)
    logs = build_dir() / "mdadm-tests" / "logs"

    def work(item, directory):
        script, run = item
        return runner.run_script(environment, directory, suite, script, run,
                                 runner.time_for(script, long_ones), logs, crew.machines)

    for number, ((script, run), record) in enumerate(crew.each(wanted, work), 1):
        record["known_broken"] = (suite / "tests" / f"{script}.broken").exists()
        found.add(script, run, record)
        print(f"{number}/{len(wanted)} {script} {run}: "
              f"{results.label(record, found.get(script, 'stock'))} ({record['seconds']} s)",
              flush=True)


def chosen(options, every):
    """The scripts that are wanted, in the suite's order."""
    unknown = set(options.script) - set(every)
    if unknown:
        sys.exit(f"the suite has no {', '.join(sorted(unknown))}")
    out = [name for name in options.script if every[name]]
    for name in out:
        print(f"left out: {name}: {every[name]}")
    return [name for name, why in every.items() if not why and
            (not options.script or name in options.script)]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", nargs="*", help="only these, all by default")
    parser.add_argument("--run", action="append", choices=runner.RUNS,
                        help="only this run (again for more)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="so many VMs at a time")
    parser.add_argument("--again", action="store_true", help="also what was done already")
    parser.add_argument("--list", action="store_true",
                        help="which scripts are taken, which are left out and why; runs nothing")
    parser.add_argument("--table", action="store_true", help="only what is known already")
    options = parser.parse_args()
    options.run = options.run or list(runner.RUNS)
    return interruptible(lambda: answer(options))


def answer(options):
    suite = suite_directory()
    every = selection.scripts(suite)
    if options.list:
        print("\n".join(f"{name}: {why or 'taken'}" for name, why in every.items()))
        return 0
    scripts = chosen(options, every)
    explanations = results.read_explanations(HERE / "explained.tsv")
    folder = build_dir() / "mdadm-tests"
    folder.mkdir(parents=True, exist_ok=True)
    environment, directories = Environment(), Directories()
    found = results.Results.load(folder / "progress.json", keys(environment, suite))
    print(f"mdadm {suite.name}: {len(scripts)} scripts of {len(every)}, logs in {folder}/logs",
          flush=True)
    try:
        if not options.table:
            wanted = [(script, run) for script in scripts for run in options.run
                      if options.again or not found.get(script, run)]
            crew = Crew([directories.take("mdadm-tests") for _ in range(options.jobs)])
            carry_out(environment, crew, suite, found, wanted)
    finally:
        directories.release()
    lines, unexplained = results.report(found, scripts, explanations)
    print("\n".join(lines))
    missing = sum(not found.get(script, run) for script in scripts for run in options.run)
    if not options.script:
        for why in sorted(set(filter(None, every.values()))):
            print(f"left out, {why}: {' '.join(name for name in every if every[name] == why)}")
    print(f"{unexplained} differences without explanation, {missing} runs missing")
    return int(unexplained > 0 or missing > 0)


if __name__ == "__main__":
    sys.exit(main())
