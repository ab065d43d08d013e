# SPDX-License-Identifier: GPL-2.0-or-later
"""That it finds something: searches on kernels with a bug planted, and what earlier ones found."""
import pytest

from sidebyside.broken import is_planted, modules
from sidebyside.kept import KEPT
from sidebyside.play import Finding
from sidebyside.rig import VM
from sidebyside.search import Search, Stage

pytestmark = pytest.mark.long

SEED = 1
SECONDS = 240
# bug -> the level on which it is searched for; on RAID5 and RAID6 members that fail and come back
SEARCHED = {"parity-trusted-when-written": 5, "partial-discard-whole": 1,
            "recovery-in-member-sectors": 10, "clean-while-degraded": 1,
            "degraded-writes-dirty": 6, "events-cleared-not-kept": 5, "write-before-bitmap": 10}


@pytest.fixture
def stage_of(boot_vm):
    """stage_of(bug): a Stage on a kernel that has it."""
    def stage(bug):
        where = modules(bug)
        machines = []

        def boot():
            for old in machines:
                old.stop()
            machines[:] = [boot_vm(**VM, modules=where)]
            return machines[0]
        return Stage(boot)
    return stage


@pytest.mark.parametrize("bug", SEARCHED)
def test_is_found(stage_of, bug):
    search = Search(stage_of(bug), SEARCHED[bug], SEED)
    finding = search.run(1000, SECONDS)
    print(search.summary(), finding, sep="\n")
    assert finding


@pytest.mark.parametrize("bug", filter(is_planted, KEPT))
def test_kept_finds_it_again(stage_of, bug):
    with pytest.raises(Finding) as caught:
        stage_of(bug).play(KEPT[bug][1])
    print(caught.value)
