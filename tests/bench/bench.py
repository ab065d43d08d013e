#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures what the bitmap and the tool cost, beside the alternatives, and says if targets are met.

Exit status 1 if one is missed, or could not be measured: the others are shown all the same.
Instructions do not depend on how fast or busy the machine is.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "vm"))

import cold
import instructions
import largest
import loss
import ramdisks
import replay
from figure import Figure, table
from vmtest import VM, Environment, VMOptions
from vmtest.slot import Directories


def in_vm(measure, options):
    """The figures of measure(vm, quick), from a VM of its own."""
    def measured(quick):
        directories = Directories()
        vm = VM(Environment(), directories.take("bench"), VMOptions(**options))
        try:
            yield from measure(vm.boot(), quick)
        finally:
            vm.stop()
            directories.release()
    return measured


def replays(quick):
    """What `replay` costs, see replay.py."""
    events = 3_000_000 if quick else max(replay.LENGTHS)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "bench.llbrec"
        counts = []
        for length in (replay.SHORT, replay.LONG):
            replay.generate(path, length)
            counts.append(replay.instructions(path))
        yield Figure("replay: event with count 1", "instructions",
                     (counts[1] - counts[0]) / (replay.LONG - replay.SHORT),
                     replay.MAX_INSTRUCTIONS, "valgrind --tool=callgrind llbitmapctl replay FILE")
        replay.generate(path, events)
        yield Figure(f"replay: memory for {events / 1e6:.0f} million events", "MiB",
                     replay.peak_kib(path) / 1024, replay.MAX_KIB / 1024,
                     "llbitmapctl replay FILE", digits=1)


GROUPS = {
    "instructions": in_vm(instructions.measure, ramdisks.ICOUNT),
    "cold": in_vm(cold.measure, cold.VM),
    "largest": in_vm(largest.measure, largest.VM),
    "loss": in_vm(loss.measure, loss.TWO_CPUS),
    "replay": replays,
}


def measured_with():
    """What else figures depend on."""
    tool = subprocess.run([replay.TOOL, "--version"], stdout=subprocess.PIPE, text=True, check=True)
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], stdout=subprocess.PIPE, text=True,
                          check=True)
    return {"tool": tool.stdout.strip(), "kernel": Environment().kernel["version"],
            "qemu": qemu.stdout.splitlines()[0], "cpus": os.cpu_count()}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs, coarser figures")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("group", nargs="*", metavar="GROUP",
                        help=f"only these figures: {', '.join(GROUPS)}")
    options = parser.parse_args(argv)
    for group in options.group:
        if group not in GROUPS:
            parser.error(f"there is no group {group}")

    figures, unfinished = [], {}
    for group in options.group or GROUPS:
        try:
            for figure in GROUPS[group](options.quick):
                print(f"  {figure.name}: {figure.row()[4]} {figure.unit}", file=sys.stderr,
                      flush=True)
                figures.append(figure)
        except Exception as error:      # whatever it is, hours of others do not go with it
            traceback.print_exc()
            unfinished[group] = f"{type(error).__name__}: {error}"
    if options.json:
        print(json.dumps({"schema": "llbitmap.bench/1", **measured_with(),
                          "figures": [figure.json() for figure in figures],
                          "unfinished": unfinished}, indent=1))
    else:
        print("\n".join([*table(figures), *(f"{group} was not finished: {error}"
                                            for group, error in unfinished.items())]))
    return bool(unfinished) or not all(figure.met for figure in figures)


if __name__ == "__main__":
    sys.exit(main())
