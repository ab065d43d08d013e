# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts that found something once, as they were printed: played by test_kept.

name: (what was found with it, script). A name of tests/vm/bugs or tests/vm/breaks says on which
broken kernel; test_finds plays it there.
"""
KEPT = {
}
