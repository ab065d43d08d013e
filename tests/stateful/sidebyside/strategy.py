# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts for hypothesis. All numbers are drawn before anything happens, so a seed gives the same
scripts on any machine. All scripts are about as long: hypothesis begins with short lists, and there
are not many examples. Operations come in short passages, each of which leads somewhere; what came
before makes them mean something else each time."""
from hypothesis import strategies as st

CHUNKS = st.sampled_from((*range(6), *range(6), *range(32)))    # the same ones again and again
FEW = st.integers(0, 3)
OFFSETS = st.sampled_from((0, 1, 8, 64, 100, 127, 200))
COUNTS = st.sampled_from((1, 8, 16, 64, 128, 200, 384, 900))


def operation(name, *numbers):
    return st.tuples(st.just(name), *numbers)


WRITE = operation("write", CHUNKS, OFFSETS, COUNTS)
DISCARD = operation("discard", CHUNKS, st.integers(1, 4))
DISCARD_PART = operation("discard_part", CHUNKS, OFFSETS, COUNTS)
FLUSH = operation("flush")
MARK = operation("mark", CHUNKS, st.integers(1, 8))
SET_BITS = operation("set_bits", CHUNKS, st.integers(1, 8))
REBITMAP = operation("rebitmap", CHUNKS, OFFSETS, COUNTS)
SETTING = operation("setting", st.sampled_from(("barrier_idle", "daemon_sleep")),
                    st.sampled_from((0, 900, 3600, 3601)))
FAIL = operation("fail", FEW)
FAIL_FIRST = operation("fail", st.just(0))      # each time the one in the same place
FAIL_TWO = operation("fail_two", st.integers(0, 9))
BACK = operation("back", FEW)
ADD = operation("add")
WIPED = operation("wiped", FEW)
REPLACE = operation("replace", FEW)
FREEZE = operation("freeze")
THAW = operation("thaw")
HOLD = operation("hold", CHUNKS)
RELEASE = operation("release")
SYNC = operation("sync")
RESTART = operation("restart")
WITHOUT = operation("restart_without", FEW)
READ_ONLY = operation("read_only")
CUT = operation("cut")
KILL = operation("kill")
RESIZE = operation("resize", FEW)

PASSAGES = [
    (WRITE,), (WRITE, WRITE), (WRITE, FLUSH), (WRITE, CUT), (WRITE, RESTART), (WRITE, SYNC, FLUSH),
    (DISCARD,), (DISCARD_PART,), (WRITE, DISCARD), (MARK,), (SETTING,),
    (FAIL, WRITE, FLUSH), (FAIL, WRITE, BACK), (FAIL, WRITE, CUT, BACK), (WITHOUT, WRITE, FLUSH),
    (FAIL, DISCARD, BACK), (FAIL, WRITE, WIPED), (FAIL, ADD), (BACK,), (BACK,), (ADD,),
    (FLUSH, FAIL_FIRST, ADD, WRITE, FLUSH, FAIL_FIRST, WRITE, BACK), (REPLACE,),
    (RESIZE, WRITE), (RESIZE,), (FAIL, RESIZE, WRITE, BACK),
    (FREEZE, MARK, WRITE, THAW), (FREEZE, FAIL, BACK, WRITE, THAW), (FREEZE, WRITE, CUT),
    (HOLD, MARK, WRITE, RELEASE), (HOLD, FAIL, WRITE, BACK, WRITE, RELEASE), (HOLD, MARK, CUT),
    (HOLD, MARK, FAIL, RELEASE), (HOLD, FAIL, WRITE, BACK, RESTART),
    (SYNC, operation("check")), (operation("repair"),),
    (WRITE, FAIL, FLUSH, BACK), (FAIL_TWO, WRITE, BACK, BACK), (WRITE, FAIL_TWO, FLUSH, CUT, BACK),
    (WRITE, READ_ONLY), (FAIL, WRITE, READ_ONLY, BACK), (HOLD, MARK, READ_ONLY, RELEASE),
    (SET_BITS,), (FLUSH, SET_BITS, CUT), (FAIL, SET_BITS, BACK),
    (FLUSH, REBITMAP), (FAIL, REBITMAP, BACK), (MARK, REBITMAP, WRITE, FLUSH),
]


def scripts(level, passages=5, kills=False):
    """Operations on an array of a level, about two and a half in each passage. A kill costs a boot,
    and is rare."""
    choices = PASSAGES * 2 + [(WRITE, KILL)] if kills else PASSAGES
    # not one_of(), which takes each only once
    passage = st.integers(0, len(choices) - 1).flatmap(lambda number: st.tuples(*choices[number]))
    clean = st.just(0) if level in (5, 6) else st.integers(0, 1)    # there is no parity on junk
    return st.builds(lambda create, rest: [create, *(one for passage in rest for one in passage)],
                     operation("create", st.just(level), clean),
                     st.lists(passage, min_size=passages, max_size=passages))
