# SPDX-License-Identifier: GPL-2.0-or-later
"""md modules with something planted in them: proofs must find it.

Whoever plants says how, with a function that changes a copy of the patched drivers/md in place.
"""
import fcntl
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from .environment import TOP, Environment, cache_dir, forget_unused, run_tool
from .errors import HarnessError

BUILD = TOP / "kernel-patch" / "modules"


@functools.cache
def patched_source():
    """drivers/md as the series makes it, or the one that MD_SRC names; asks apt once per process."""
    return pathlib.Path(os.environ.get("MD_SRC") or run_tool(BUILD / "patched-source"))


def copy_source(md):
    """A copy of patched_source(), for planting."""
    shutil.copytree(patched_source(), md, ignore=shutil.ignore_patterns("*.o", ".*"))


def apply(md, patch, *options):
    """Applies a patch of drivers/md. HarnessError: it does not fit."""
    top = md.parent.parent
    # the directory may lie inside somebody's repository, which git would take for its own
    done = subprocess.run(["git", "apply", *options, patch.resolve()], cwd=top, check=False,
                          stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "GIT_CEILING_DIRECTORIES": str(top.parent)})
    if done.returncode:
        raise HarnessError(f"{patch.name} does not fit the patched drivers/md:\n{done.stderr}")


def patches(*files):
    """Plants what these patches do."""
    def plant(md):
        for file in files:
            apply(md, file)
    return plant


def modules(kind, name, plant, headers=""):
    """The directory with the modules of a copy of drivers/md that plant(copy) has changed.

    It is in the cache, under its name and the content of all that it is made from: a second call
    builds nothing. All of a kind share their objects: only what differs is compiled.

    headers: where a kernel was or can be built, the stock one's if not said
    """
    headers = headers or Environment().kernel["headers"]
    cache = cache_dir() / "planted" / kind
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w", encoding="ascii") as lock, \
            tempfile.TemporaryDirectory(dir=cache) as temporary:
        fcntl.flock(lock, fcntl.LOCK_EX)
        md = pathlib.Path(temporary) / "drivers" / "md"
        copy_source(md)
        plant(md)
        out = cache / f"{name}-{_digest(md, headers)}"
        if not out.exists():
            made = pathlib.Path(temporary) / "modules"
            subprocess.run([BUILD / "build", headers, md, made, cache / "objects"], check=True,
                           stdout=sys.stderr)
            made.rename(out)
    os.utime(out)
    # not all but the newest: a run with older sources may take hours
    forget_unused(cache.glob("*-" + "[0-9a-f]" * 16))
    return str(out)


def bug(patch):
    """modules() with one patch."""
    return modules("bugs", patch.stem, patches(patch))


def _digest(md, headers):
    """headers have the version, or the content, of their kernel in their name."""
    key = hashlib.sha256(str(headers).encode())
    for file in (*sorted(md.iterdir()), BUILD / "build", BUILD / "Kbuild",
                 *sorted(BUILD.glob("compat.[ch]"))):
        if file.is_file():
            key.update(file.name.encode() + b"\0" + file.read_bytes())
    return key.hexdigest()[:16]
