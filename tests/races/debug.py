# SPDX-License-Identifier: GPL-2.0-or-later
"""Debug kernels, and md's modules for them, as they are or with a bug planted."""
import os
import pathlib
import shutil
import subprocess

from vmtest.environment import TOP, build_dir, run_tool

HERE = pathlib.Path(__file__).resolve().parent
FLAVOURS = ("kasan", "kcsan")
# what of them is allowed to be seen: see known.tsv
KNOWN = HERE / "known.tsv"


def planted():
    """{name: patch}"""
    return {patch.stem: patch for patch in sorted((HERE / "planted").glob("*.patch"))}


def source(bug):
    series = pathlib.Path(os.environ.get("MD_SRC")
                          or run_tool(TOP / "kernel-patch" / "modules" / "patched-source"))
    if not bug:
        return series
    top = build_dir() / "races" / "planted" / bug
    shutil.rmtree(top, ignore_errors=True)
    shutil.copytree(series, top / "drivers" / "md")
    subprocess.run(["patch", "-s", "-p1", "--fuzz=0", "-i", planted()[bug]], cwd=top, check=True)
    return top / "drivers" / "md"


def use(flavour, bug=""):
    """Builds what is missing; what the harness starts from now on is this kernel with these
    modules. Gives the variables that say so."""
    kernel = run_tool(HERE / "kernel", flavour)
    out = build_dir() / "races" / f"{flavour}-{bug or 'modules'}"
    # all share the objects: only what a bug changes is compiled
    run_tool(TOP / "kernel-patch" / "modules" / "build", f"{kernel}/build", source(bug), out,
             build_dir() / "races" / f"{flavour}-objects")
    variables = {"LLBITMAP_KERNEL": kernel, "LLBITMAP_MODULES": str(out),
                 "LLBITMAP_KNOWN": str(KNOWN)}
    os.environ.update(variables)
    return variables
