# SPDX-License-Identifier: GPL-2.0-or-later
"""Debug kernels, and md's modules for them, as they are or with a bug planted."""
import contextlib
import pathlib
import re
import tempfile

from vmtest import planted
from vmtest.environment import run_tool

HERE = pathlib.Path(__file__).resolve().parent
FLAVOURS = ("kasan", "kcsan")
# what of them is allowed to be seen: see known.tsv
KNOWN = HERE / "known.tsv"
# What fails in a VM whose sanitizer is off, and has nothing to report then. Lockdep ends with its first
# report; that KASAN is on is said at the boot only, and the log does not keep it for ever.
WATCHING = {
    "kasan": "grep -x ' *debug_locks: *1' /proc/lockdep_stats && { [ -e /run/kasan.on ] || "
             "dmesg | grep 'kasan: KernelAddressSanitizer initialized' > /run/kasan.on; }",
    "kcsan": "mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug; "
             "grep -x 'enabled: 1' /sys/kernel/debug/kcsan"}


# {name: patch}
BUGS = {patch.stem: patch for patch in sorted((HERE / "planted").glob("*.patch"))}


def seen_as(bug):
    """The regular expression for what a kernel with the bug says: other trouble does not count."""
    return re.search("^Seen as: (.*)$", BUGS[bug].read_text(encoding="utf-8"), re.MULTILINE)[1]


def in_cache(flavour):
    """Whether build() has to build modules at most."""
    return bool(run_tool(HERE / "kernel", "--cached", flavour))


def keep_sources(modules, plant):
    """What they were made from, in src/: reports are told by their lines."""
    if (modules / "src").exists():
        return
    with tempfile.TemporaryDirectory(dir=modules) as temporary:
        md = pathlib.Path(temporary) / "drivers" / "md"
        planted.copy_source(md)
        plant(md)
        with contextlib.suppress(OSError):      # another process was faster
            md.rename(modules / "src")


def build(flavour, bug=""):
    """Builds what is missing. Gives the variables that make the harness start this kernel with these
    modules."""
    kernel = run_tool(HERE / "kernel", flavour)
    patches = [BUGS[bug]] if bug else []
    plant = planted.patches(*patches)
    modules = planted.modules(flavour, bug or "none", plant, f"{kernel}/build")
    keep_sources(pathlib.Path(modules), plant)
    return {"LLBITMAP_KERNEL": kernel, "LLBITMAP_MODULES": modules, "LLBITMAP_KNOWN": str(KNOWN),
            "LLBITMAP_WATCHING": WATCHING[flavour]}
