# SPDX-License-Identifier: GPL-2.0-or-later
"""The short forms of `make faults`, on RAID1: each call that can fail does so once, or a few do."""
import os
import random
import re

import pytest

from faultpoints import run
from faultpoints.plan import faults_of
from faultpoints.short import FEW, Short

# chooses which time a call fails, how, and what comes after it
SEED = int(os.environ.get("FAULTS_SEED") or random.randrange(1 << 30))


@pytest.fixture
def runner(vm_environment, vm_directories):
    """runner(*bugs): a Runner, closed at the end."""
    if vm_environment.md_built_in:
        pytest.skip("exchanges md's modules, and this kernel has md built in")
    runners = []

    def make(*bugs):
        runners.append(run.Runner(vm_environment, vm_directories.take("faults"),
                                  run.modules(*bugs)))
        return runners[-1]

    yield make
    for one in runners:
        one.drop()


def fail(one, points, **which):
    """The points that failed; nothing was wrong."""
    print(f"\nseed {SEED}")
    short = Short(one, points, SEED, **which).run()
    wrong = short.wrong + one.close()
    assert not wrong, "\n".join([f"FAULTS_SEED={SEED}", *wrong])
    return short.failed


def test_some_calls_fail(runner):
    """Others each time."""
    points = run.points()
    assert len(fail(runner(), points, **FEW) & set(points)) >= FEW["most"]


@pytest.mark.long
def test_each_call_fails_once(runner):
    points = run.points()
    failed = fail(runner(), points)
    assert failed >= set(points), f"never failed: {sorted(set(points) - failed)}"


# bug of planted/: (the phase that shows it, the point whose faults do, what is said of it)
PLANTED = {
    "disk-left-behind": ("assemble", "llb_create_disk:bdev_file_alloc",
                         "the hidden disk is still there"),
    "page-leaked": ("grow", "llb_page_init:percpu_ref_init", "not given back: memory"),
    "page-without-bits": ("assemble", "llb_page_init:kcalloc", "VMPanic"),
    "write-error-ignored": ("write", "llb_send:submit_bio_wait", "says Clean or Unwritten"),
    "failed-member-kept": ("write", "llb_submit_pages:submit_bio_noacct",
                           "says Clean or Unwritten"),
    "given-up-in-silence": ("write", "llb_send:submit_bio_wait", "says Clean or Unwritten"),
    "flush-error-ignored": ("daemon", "llb_flush_members:blkdev_issue_flush",
                            "says Clean or Unwritten"),
    "last-member-failed": ("daemon", "llb_flush_members:blkdev_issue_flush",
                           r"a write to sector \d+ gave write: EIO"),
    "never-resumed": ("daemon", "llb_flush_members:blkdev_issue_flush", "llb_page_enter_slow"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", PLANTED)
def test_planted_bug_is_found(runner, name):
    """In the phase that shows it, by the faults that make faults has of the point."""
    phase, point, said = PLANTED[name]
    points = {point: run.points()[point]}
    for report in faults_of(runner(name), points, 1, phase, random.Random(SEED)):
        print(report)
        if report.wrong:
            assert re.search(said, "\n".join(report.wrong)), report
            return
    pytest.fail("nothing was found")
