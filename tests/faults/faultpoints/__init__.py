# SPDX-License-Identifier: GPL-2.0-or-later
"""Each call of the bitmap that can fail, made to fail: see tests/faults/README.md. The judge is that of
tests/crash, the player that of tests/stateful."""
import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / name) for name in ("stateful", "crash")]
