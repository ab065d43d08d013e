# SPDX-License-Identifier: GPL-2.0-or-later
"""How scripts are drawn. All numbers are drawn before anything happens, so a seed gives the same
scripts on any machine. Operations come in short passages, each of which leads somewhere; what came
before makes them mean something else each time. Passages are dealt like cards, each once before any
comes again: a search of few scripts does not miss what a drawn number happens to miss."""

CHUNKS = (*range(6), *range(6), *range(32))     # the same ones again and again
FEW = range(4)
OFFSETS = (0, 1, 8, 64, 100, 127, 200)
COUNTS = (1, 8, 16, 64, 128, 200, 384, 900)

# an operation, and what each of its numbers is drawn from
WRITE = ("write", CHUNKS, OFFSETS, COUNTS)
WRITE_MUCH = ("write", CHUNKS, (0,), (900,))    # to each member
DISCARD = ("discard", CHUNKS, range(1, 5))
DISCARD_PART = ("discard_part", CHUNKS, OFFSETS, COUNTS)
FLUSH = ("flush",)
MARK = ("mark", CHUNKS, range(1, 9))
SET_BITS = ("set_bits", CHUNKS, range(1, 9))
REBITMAP = ("rebitmap", CHUNKS, OFFSETS, COUNTS)
SETTING = ("setting", ("barrier_idle", "daemon_sleep"), (0, 900, 3600, 3601))
FAIL = ("fail", FEW)
FAIL_FIRST = ("fail", (0,))                     # each time the one in the same place
FAIL_TWO = ("fail_two", range(10))
BACK = ("back", FEW)
BACK_FIRST = ("back", (0,))                     # the one that left first
ADD = ("add",)
WIPED = ("wiped", FEW)
REPLACE = ("replace", FEW)
FREEZE = ("freeze",)
THAW = ("thaw",)
HOLD = ("hold", CHUNKS)
RELEASE = ("release",)
SYNC = ("sync",)
CHECK = ("check",)
REPAIR = ("repair",)
RESTART = ("restart", (0, 1))
WITHOUT = ("restart_without", FEW)
READ_ONLY = ("read_only",)
CUT = ("cut", (0, *range(10)), (0, 1))
KILL = ("kill",)
RESIZE = ("resize", FEW)

# what no search is without: its first script, in any order
FIRST = [(WRITE, FLUSH), (DISCARD_PART,), (WRITE, CUT), (FAIL, WRITE, BACK), (RESTART,),
         (RESIZE, WRITE), (REPLACE,)]

PASSAGES = [
    (WRITE,), (WRITE, WRITE), (WRITE, FLUSH), (WRITE, CUT), (WRITE, RESTART), (WRITE, SYNC, FLUSH),
    (DISCARD,), (DISCARD_PART,), (WRITE, DISCARD), (MARK,), (SETTING,),
    (FAIL, WRITE, FLUSH), (FAIL, WRITE, BACK), (FAIL, WRITE, CUT, BACK), (WITHOUT, WRITE, FLUSH),
    (FAIL, DISCARD, BACK), (FAIL, WRITE, WIPED), (FAIL, ADD), (BACK,), (BACK,), (ADD,),
    # on RAID5 and RAID6 nothing that was written for the first time is Clean without SYNC
    (FLUSH, FAIL_FIRST, ADD, WRITE_MUCH, SYNC, FLUSH, FAIL_FIRST, WRITE, BACK_FIRST), (REPLACE,),
    (RESIZE, WRITE), (RESIZE,), (FAIL, RESIZE, WRITE, BACK),
    (FREEZE, MARK, WRITE, THAW), (FREEZE, FAIL, BACK, WRITE, THAW), (FREEZE, WRITE, CUT),
    (HOLD, MARK, WRITE, RELEASE), (HOLD, FAIL, WRITE, BACK, WRITE, RELEASE), (HOLD, MARK, CUT),
    (HOLD, MARK, FAIL, RELEASE), (HOLD, FAIL, WRITE, BACK, RESTART),
    (SYNC, CHECK), (REPAIR,),
    (WRITE, FAIL, FLUSH, BACK), (FAIL_TWO, WRITE, BACK, BACK), (WRITE, FAIL_TWO, FLUSH, CUT, BACK),
    (WRITE, READ_ONLY), (FAIL, WRITE, READ_ONLY, BACK), (HOLD, MARK, READ_ONLY, RELEASE),
    (SET_BITS,), (FLUSH, SET_BITS, CUT), (FAIL, SET_BITS, BACK),
    (FLUSH, REBITMAP), (FAIL, REBITMAP, BACK), (MARK, REBITMAP, WRITE, FLUSH),
]


def scripts(random, level, passages=5, kills=False):
    """Without end: operations on an array of a level, about two and a half in each passage. A kill
    costs a boot, and is one card of all."""
    cards = PASSAGES + [(WRITE, KILL)] * kills
    pack = []

    def deal():
        if not pack:
            pack.extend(random.sample(cards, len(cards)))
        return pack.pop()

    yield script(random, level, random.sample(FIRST, len(FIRST)))
    while True:
        yield script(random, level, [deal() for _ in range(passages)])


def script(random, level, passages):
    clean = 0 if level in (5, 6) else random.randrange(2)   # there is no parity on junk
    return [("create", level, clean), *((name, *map(random.choice, numbers))
                                        for passage in passages for name, *numbers in passage)]
