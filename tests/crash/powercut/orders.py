# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels with the order broken on purpose, and the rule of judge.py by which each is found."""
import breaks
from levels import PARITY

from . import meanwhile
from .scene import DISKS, broken_modules

# mutations/order.patch
ORDERS = {0: ("nothing is broken", ""), 1: ("unsafe bits cleared at issue", "order"),
          2: ("unplug does not wait", "order"), 3: ("clean before flush", "clean"),
          4: ("second writer does not wait", "order"), 5: ("discards do not wait", "order"),
          6: ("clean without drain", "clean")}

# One thread of raid5 sends all stripes, and waits for the bitmap itself. So orders 1 and 4 did not show
# on RAID5 within seconds.
PARITY_ORDERS = (2, 3)

# of tests/vm/breaks.py: (name, level, what happens meanwhile, the rule)
BREAKS = [("recovery-in-member-sectors", 10, meanwhile.replace, "flushed"),
          ("parity-trusted-when-written", 5, meanwhile.unsynced, "flushed"),
          *(("abort-counts-as-end", level, meanwhile.resync, "clean") for level in (5, 6)),
          *(("partial-discard-whole", level, meanwhile.replace, "clean" if level in PARITY else "order")
            for level in DISKS)]

NAMES = [*map(str, filter(None, ORDERS)), *dict.fromkeys(name for name, *_ in BREAKS)]


def modules(name):
    """One of NAMES; which of ORDERS, Scene.breaks() chooses."""
    return broken_modules("order") if name.isdigit() else breaks.modules(name)


def ways(name):
    """Where one of NAMES is known to be found: {level: (what happens meanwhile, or None; the rule)}"""
    if name.isdigit():
        return dict.fromkeys(DISKS, (None, ORDERS[int(name)][1]))
    return {level: (during.__name__, rule) for other, level, during, rule in BREAKS if other == name}
