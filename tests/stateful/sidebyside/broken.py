# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules with a bug planted: a patch of tests/vm/bugs, or a break of tests/vm/breaks.py."""
import re

import breaks
from vmtest import planted
from vmtest.environment import VM_DIR

# bug: (level on which it is searched for, what a finding of it says)
SEARCHED = {
    "parity-trusted-when-written": (5, r"does not come back without the members \("),
    "partial-discard-whole": (1, r"chunk \d+ is Unwritten, not (Dirty|NeedSync)"),
    "recovery-in-member-sectors": (10, r"the array does not give what was written"),
    "clean-while-degraded": (1, r"chunk \d+ is Clean, not Dirty"),
    "degraded-writes-dirty": (6, r"chunk \d+ is Dirty, not NeedSync"),
    "events-cleared-not-kept": (5, r"the array does not give what was written|"
                                   r"does not come back without the members \("),
    "dirty-stays-dirty-at-load": (5, r"as it was loaded, chunk \d+ is Dirty, not NeedSync|"
                                     r"chunk \d+ is Dirty, and its parity is wrong"),
    "write-before-bitmap": (10, r"is still (Unwritten|Clean) on the member with role \d, when"),
}


def bug_of(name):
    """Of a kept script; None if it is of no planted bug."""
    bug = name.partition(",")[0]
    return bug if bug in SEARCHED else None


def is_seen(bug, text):
    """Whether this is what the bug is found as: a model that is wrong finds something, too."""
    return bool(re.search(SEARCHED[bug][1], text))


def modules(name):
    """The directory with them; the stock kernel's headers are needed, and half a minute."""
    patch = VM_DIR / "bugs" / f"{name}.patch"
    return planted.bug(patch) if patch.exists() else breaks.modules(name)
