# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes cost few instructions more with llbitmap than without a bitmap, and with who watches."""
import pytest

import ramdisks
from instructions import STEADY_MOST, WATCHED_MOST, each_event, watched
from levels import cases

pytestmark = pytest.mark.vm(**ramdisks.ICOUNT)

WRITES = 100_000    # fio's milliseconds, spread over these, are 10 instructions


def steady(vm, level, bitmap):
    """Instructions of a write. With parity the same load costs now a tenth of a percent more, now
    less, as its stripes happen to meet in the cache: then it is the least of several runs."""
    array = ramdisks.create(vm, level, bitmap)
    runs = [ramdisks.steady_writes(vm, array, WRITES, level)
            for _ in range(1 if level in ramdisks.COPIES else 3)]
    array.destroy()
    assert {run.count for run in runs} == {WRITES}
    return min(run.each for run in runs)


@cases("levels", (1, 10), long=[(4, 5, 6)])
def test_cost(vm, levels):
    ramdisks.load_ramdisks(vm)
    added = {}
    for level in levels:
        none, llbitmap = (steady(vm, level, bitmap) for bitmap in ("none", "llbitmap"))
        assert none > 10_000, "the clock does not count instructions"
        added[level] = round(llbitmap - none)
    print(f"instructions added to a write, by level: {added}")
    assert all(more <= STEADY_MOST[level] for level, more in added.items()), added


def test_cost_with_audit_and_top(vm):
    ramdisks.load_ramdisks(vm)
    array = ramdisks.create(vm, 1, "llbitmap")
    alone = ramdisks.steady_writes(vm, array, WRITES).each
    more = watched(vm, array, WRITES, 1, alone)
    array.destroy()
    print(f"{alone:.0f} instructions, with audit and top {more:.2f} % more")
    assert more <= WATCHED_MOST


def test_cost_of_an_event(vm):
    ramdisks.load_ramdisks(vm)
    figures = list(each_event(vm))
    print(*(f"{figure.name}: {figure.value:.0f} instructions" for figure in figures), sep="\n")
    assert len(figures) == 2 and all(figure.met for figure in figures)
