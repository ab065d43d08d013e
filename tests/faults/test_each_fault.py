# SPDX-License-Identifier: GPL-2.0-or-later
"""The short forms of `make faults`, on RAID1: each call that can fail does so once, or a few do."""
import os
import random

import pytest

from faultpoints import bugs, run
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
    wrong = short.wrong + one.verdict()
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


@pytest.mark.long
@pytest.mark.parametrize("name", bugs.PLANTED)
def test_planted_bug_is_found(runner, name):
    """In the phase that shows it, by the faults that make faults has of the point."""
    phase, point, _ = bugs.PLANTED[name]
    points = {point: run.points()[point]}
    one = runner(name)
    for report in faults_of(one, points, 1, phase, random.Random(SEED)):
        print(report)
        if report.wrong:
            assert bugs.shows(name, report.wrong), report
            return
    said = one.verdict()        # where the array went on, a leak shows when it is gone
    assert bugs.shows(name, said), said
