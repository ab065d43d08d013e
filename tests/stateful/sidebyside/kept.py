# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts that found something, as the search left them: played by test_kept.

name: (what was found with it, script). A name of tests/vm/bugs or tests/vm/breaks.py says on which
broken kernel; test_finds plays it there.
"""
KEPT = {
    "parity-trusted-when-written": (
        "sector 0 (chunk 0) does not come back without the members (0,)",
        [("create", 5, 0),
         ("write", 0, 0, 1)]),
    "partial-discard-whole": (
        "chunk 5 is Unwritten, not Dirty",
        [("create", 1, 1),
         ("discard_part", 21, 64, 200)]),
    "recovery-in-member-sectors": (
        "the array does not give what was written to 1 sectors from 2056",
        [("create", 10, 1),
         ("write", 16, 8, 1),
         ("discard_part", 3, 64, 900),
         ("add",),
         ("fail", 0)]),
    "write-before-bitmap": (
        "chunk 0 is still Unwritten on the member with role 2, when what made it something else is "
        "over",
        [("create", 10, 0),
         ("write", 0, 0, 1)]),
    # by hand, after one of eleven lines, in which chunks were Dirty for another reason
    "clean-while-degraded": (
        "chunk 0 is Clean, not Dirty",
        [("create", 1, 1),
         ("write", 0, 0, 1),
         ("fail", 0),
         ("flush",)]),
    # made by hand after a longer one, and not of a planted bug: see README. `fail` wakes the sync
    "failure-while-a-sync-is-held": (
        "mdadm --remove: Device or resource busy",
        [("create", 1, 1),
         ("write", 3, 64, 900),
         ("add",),
         ("hold", 8),
         ("fail", 0),
         ("fail", 1),
         ("release",)]),
}
