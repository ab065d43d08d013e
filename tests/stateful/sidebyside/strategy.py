# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts for hypothesis. All numbers are drawn before anything happens, so a seed gives the same
scripts on any machine. All scripts are about as long: hypothesis begins with short lists, and there
are not many examples."""
from hypothesis import strategies as st

CHUNKS = st.sampled_from((*range(6), *range(6), *range(32)))    # the same ones again and again
FEW = st.integers(0, 3)
OFFSETS = st.sampled_from((0, 1, 8, 64, 100, 127, 200))
COUNTS = st.sampled_from((1, 8, 16, 64, 128, 200, 384, 900))


def operation(name, *numbers):
    return st.tuples(st.just(name), *numbers)


WRITE = operation("write", CHUNKS, OFFSETS, COUNTS)
FLUSH = operation("flush")
FAIL = operation("fail", FEW)
BACK = operation("back", FEW)
CUT = operation("cut")
RESIZE = operation("resize", FEW)
THAW = operation("thaw")
RELEASE = operation("release")

# what is named twice happens twice as often
USUAL = [
    WRITE, WRITE, WRITE, WRITE, FLUSH, FLUSH,
    operation("discard", CHUNKS, st.integers(1, 4)),
    operation("discard_part", CHUNKS, OFFSETS, COUNTS),
    FAIL, FAIL, BACK, BACK, BACK,
    operation("add"), operation("wiped", FEW), operation("replace", FEW),
    operation("restart"), operation("restart_without", FEW),
    CUT, CUT, RESIZE, RESIZE, operation("sync"),
    operation("mark", CHUNKS, st.integers(1, 8)),
    operation("freeze"), THAW, THAW, THAW, operation("hold", CHUNKS), RELEASE, RELEASE, RELEASE,
    operation("check"), operation("repair"),
    operation("setting", st.sampled_from(("barrier_idle", "daemon_sleep")),
              st.sampled_from((0, 900, 3600, 3601))),
]


def scripts(level, length=12, kills=False):
    """So many operations on an array of a level. A kill costs a boot, and is rare."""
    choices = USUAL * 2 + [operation("kill")] if kills else USUAL
    # not one_of(), which takes each only once
    choice = st.integers(0, len(choices) - 1).flatmap(choices.__getitem__)
    clean = st.just(0) if level in (5, 6) else st.integers(0, 1)    # there is no parity on junk
    return st.builds(lambda create, rest: [create, *rest],
                     operation("create", st.just(level), clean),
                     st.lists(choice, min_size=length, max_size=length))
