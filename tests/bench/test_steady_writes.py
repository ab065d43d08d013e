# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes cost few instructions more with llbitmap than without a bitmap, and with who watches."""
import pytest

import ramdisks
from instructions import (STEADY_MOST, WATCHED_MOST, WRITES, added, each_event, steady_costs,
                          watched)
from levels import cases

pytestmark = pytest.mark.vm(**ramdisks.ICOUNT)


@cases("level", 1, 10, long=[4, 5, 6])
def test_cost(vm, level):
    ramdisks.load_ramdisks(vm)
    costs = steady_costs(vm, level, WRITES, ("none", "llbitmap"))
    assert min(costs["none"]) > 10_000, "the clock does not count instructions"
    more, error = added(costs, "llbitmap")
    print(f"RAID{level}: {more:+.0f} instructions, standard error {error:.0f}, of {costs}")
    assert more <= STEADY_MOST[level]


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
