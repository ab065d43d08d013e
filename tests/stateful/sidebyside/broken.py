# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules with a bug planted: a patch of tests/vm/bugs, or a break of tests/vm/breaks.py."""
import breaks
from vmtest import planted
from vmtest.environment import VM_DIR


def is_planted(name):
    return (VM_DIR / "bugs" / f"{name}.patch").exists() or name in breaks.BREAKS


def modules(name):
    """The directory with them; the stock kernel's headers are needed, and half a minute."""
    patch = VM_DIR / "bugs" / f"{name}.patch"
    return planted.bug(patch) if patch.exists() else breaks.modules(name)
