# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels with a bug put in on purpose: the audit names the rule that each one breaks, live
and from a recording of the same run. The kernel without bug passes under the same load."""
import json
import pathlib
import subprocess

import pytest

from vmtest import DiskOptions, planted
from vmtest.environment import build_dir

BUGS = pathlib.Path(__file__).parent / "bugs"
TOOL = build_dir() / "llbitmapctl"

# bug -> the rule to be named, the only one: of concurrency or order, of table or geometry, and
# bugs whose transitions claim a context that other events deny
RULES = {
    "daemon-without-drain": "drained-clean",
    "event-before-change": "continuity",
    "lost-update": "continuity",
    "double-event": "sequence",
    "clean-while-degraded": "degraded-keep",
    "degraded-write-dirty": "degraded-write",
    "recovery-for-resync": "resync-first",
    "chunk-too-many": "range",
    "drain-only-claimed": "drained-clean",
    "flush-error-ignored": "drained-clean",
    "discard-without-drain": "whole-discard",
    "writer-does-not-wait": "suspended-page",
    "write-before-bitmap": "durable-first",
    "durable-too-early": "bitmap-write",
    "unload-one-short": "sequence",
    "number-twice": "sequence",
}

# Caught by what other events show, not by the transition itself; the others are in `make check`.
LONG = ["drain-only-claimed", "flush-error-ignored", "discard-without-drain",
        "writer-does-not-wait", "write-before-bitmap", "durable-too-early", "unload-one-short",
        "number-twice"]

# With two CPUs, whose events come in any order; one is enough for the others.
CONCURRENT = ["none", "lost-update", "event-before-change"]

# KiB of each member; where the last chunk has to be on the second page of the bitmap
SIZE, SECOND_PAGE = 16384, 262144

# record runs the audit, and that the load: both see all of it
SESSION = """
llbitmapctl record -o /mnt/out/{name}.llbrec -- bash -c '
	llbitmapctl audit --json -- /mnt/tests/vm/bugs/load {array} {chunk_bytes} {chunks} {members} \
		>/mnt/out/{name}.json 2>/mnt/out/{name}.log
	echo $? >/mnt/out/{name}.status'
"""


def audit_load(boot_vm, name, modules="", size=SIZE):
    """(status, report) of the audit, and of the replay, which needs no VM; what the audit said."""
    vm = boot_vm(disks=3, cpus=2 if name in CONCURRENT else 1,
                 disk=DiskOptions(size=f"{size // 1024 + 48}M"), modules=modules)
    array = vm.create_array(level=1, disks=3, size=size, assume_clean=True)
    geometry = array.metadata()
    vm.run(SESSION.format(name=name, array=array, chunks=geometry["chunks"],
                          chunk_bytes=geometry["chunksize"] * 512,
                          members=" ".join(map(str, vm.disks[:3]))), timeout=120)
    log = (vm.out / f"{name}.log").read_text()
    assert "the command" not in log, f"the load did not come to its end: {log}"
    live = int((vm.out / f"{name}.status").read_text()), json.loads(
        (vm.out / f"{name}.json").read_text())
    done = subprocess.run([TOOL, "replay", "--json", vm.out / f"{name}.llbrec"],
                          capture_output=True, text=True, check=False)
    return live, (done.returncode, json.loads(done.stdout)), log


def test_no_bug(boot_vm):
    """Its load has what each bug needs to show."""
    for status, report in audit_load(boot_vm, "none")[:2]:
        assert (status, report["verdict"], report["violations"]) == (0, "pass", 0)
        cells = {(cell["from"], cell["action"]): cell["chunks"]
                 for cell in report["coverage"]["cells"]}
        for cell in (("Clean", "Startwrite"), ("Dirty", "Daemon"), ("Dirty", "Startsync"),
                     ("NeedSync", "Startsync"), ("Syncing", "Endsync"), ("Dirty", "Discard")):
            assert cells[cell], cell
        assert report["coverage"]["rules"]["degraded-write"]


@pytest.mark.parametrize("bug", [pytest.param(bug, marks=pytest.mark.long if bug in LONG else ())
                                 for bug in RULES])
def test_bug(boot_vm, vm_environment, bug):
    if vm_environment.md_built_in:
        pytest.skip("brings its own modules")
    live, replayed, log = audit_load(boot_vm, bug, planted.bug(BUGS / f"{bug}.patch"),
                                     SECOND_PAGE if bug == "number-twice" else SIZE)
    for status, report in (live, replayed):
        assert (status, report["verdict"]) == (1, "fail")
        assert set(report["broken"]) == {RULES[bug]}
        first = report["details"][0]
        assert first["rule"] == RULES[bug]
        assert first["array"] == "md0"
    # said as soon as it was seen, unless only the sum of all events shows it
    at_once = f"llbitmapctl: violation: {RULES[bug]}  md0: " in log
    assert at_once == (bug != "number-twice")


def test_every_patch_is_tried():
    assert {patch.stem for patch in BUGS.glob("*.patch")} == set(RULES)
