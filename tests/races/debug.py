# SPDX-License-Identifier: GPL-2.0-or-later
"""Debug kernels, and md's modules for them, as they are or with a bug planted."""
import os
import pathlib
import re

from vmtest import planted
from vmtest.environment import run_tool

HERE = pathlib.Path(__file__).resolve().parent
FLAVOURS = ("kasan", "kcsan")
# what of them is allowed to be seen: see known.tsv
KNOWN = HERE / "known.tsv"


# {name: patch}
BUGS = {patch.stem: patch for patch in sorted((HERE / "planted").glob("*.patch"))}


def seen_as(bug):
    """The regular expression for what a kernel with the bug says: other trouble does not count."""
    return re.search("^Seen as: (.*)$", BUGS[bug].read_text(encoding="utf-8"), re.MULTILINE)[1]


def use(flavour, bug=""):
    """Builds what is missing; what the harness starts from now on is this kernel with these
    modules. Gives the variables that say so."""
    kernel = run_tool(HERE / "kernel", flavour)
    patches = [BUGS[bug]] if bug else []
    modules = planted.modules(flavour, bug or "none", planted.patches(*patches),
                              f"{kernel}/build")
    variables = {"LLBITMAP_KERNEL": kernel, "LLBITMAP_MODULES": modules,
                 "LLBITMAP_KNOWN": str(KNOWN)}
    os.environ.update(variables)
    return variables
