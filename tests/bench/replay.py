#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a replay costs: instructions for each event with count 1, memory whatever the length.

Instructions are counted by callgrind, as the difference between two legal recordings of random
single-chunk transitions, so that the start of the program does not count. Exit status 1 if a
limit is exceeded.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from measure import measured

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", TOP / "build"))
TOOL = BUILD / "llbitmapctl"
MAX_INSTRUCTIONS = 200
MAX_KIB = 64 * 1024
SHORT, LONG = 100_000, 600_000
LENGTHS = (1_000_000, 30_000_000)


def generate(path, events, arrays=1):
    subprocess.run([BUILD / "llb-generate", "-o", path, "-n", str(events), "-a", str(arrays)],
                   check=True)
    return path.stat().st_size


def instructions(path):
    """All instructions that a replay of the file executes."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", TOOL, "replay", path],
        capture_output=True, text=True, check=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def peak_kib(path):
    """Largest resident size of a replay."""
    status, kib = measured([TOOL, "replay", path])
    if status:
        raise RuntimeError(f"the replay of {path} ended with {status}")
    return kib


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "run.llbrec"
        dearest = worst = 0
        for arrays in (1, 4, 16):
            size = generate(path, SHORT, arrays)
            short = instructions(path)
            more = generate(path, LONG, arrays) - size
            each = (instructions(path) - short) / (LONG - SHORT)
            dearest = max(dearest, each)
            print(f"replay: {arrays} arrays: {each:.1f} instructions an event "
                  f"(limit {MAX_INSTRUCTIONS}), {more / (LONG - SHORT):.1f} bytes an event in the file")
        for events in LENGTHS:
            size = generate(path, events)
            kib = peak_kib(path)
            worst = max(worst, kib)
            print(f"replay: {events} events, {size / 2**20:.0f} MiB: {kib / 1024:.1f} MiB of memory "
                  f"(limit {MAX_KIB // 1024})")
    return dearest > MAX_INSTRUCTIONS or worst > MAX_KIB


if __name__ == "__main__":
    sys.exit(main())
