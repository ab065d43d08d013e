# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts that found something, as they were printed: played by test_kept.

name: (what was found with it, script). A name of tests/vm/bugs or tests/vm/breaks says on which
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
}
