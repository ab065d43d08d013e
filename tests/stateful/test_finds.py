# SPDX-License-Identifier: GPL-2.0-or-later
"""That it finds something: searches on kernels with a bug planted, and what earlier ones found."""
import pytest

from sidebyside.broken import SEARCHED, bug_of, is_seen, modules
from sidebyside.kept import KEPT
from sidebyside.play import Finding
from sidebyside.rig import VM
from sidebyside.search import Search, Stage

pytestmark = pytest.mark.long

SEED = 1
SECONDS = 240


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
    search = Search(stage_of(bug), SEARCHED[bug][0], SEED)
    finding = search.run(1000, SECONDS)
    print(search.summary(), finding, sep="\n")
    assert finding and is_seen(bug, finding.text)


@pytest.mark.parametrize("name", filter(bug_of, KEPT))
def test_kept_finds_it_again(stage_of, name):
    bug = bug_of(name)
    with pytest.raises(Finding) as caught:
        stage_of(bug).play(KEPT[name])
    print(caught.value)
    assert is_seen(bug, caught.value.text)
