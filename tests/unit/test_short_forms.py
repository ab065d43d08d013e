# SPDX-License-Identifier: GPL-2.0-or-later
"""Each proof has a short form in `make check`, and what they take is told."""
import subprocess
import sys
from types import SimpleNamespace

import pytest

from conftest import TOP
from short_forms import PROOFS, told


def report(nodeid, duration, *keywords, told_with=()):
    return SimpleNamespace(nodeid=nodeid, duration=duration, keywords=dict.fromkeys(keywords, 1),
                           user_properties=[("short form", text) for text in told_with])


def each(seconds):
    """One test of each proof."""
    return [report(f"{begin}test_x.py::test_a" if begin.endswith("/") else f"{begin}::test_a", seconds)
            for begin in PROOFS.values()]


def test_by_proof():
    """With set-up and tear-down; what is not a short form, or long, is not counted."""
    lines = list(told([*each(2), report("crash/test_y.py::test_b", 0.6),
                       report("crash/test_y.py::test_b", 1.4),
                       report("crash/test_y.py::test_c", 1000, "long"),
                       report("vm/test_write.py::test_d", 1000),
                       report("unit/test_verify.py::test_e", 1000)]))
    assert [line.split()[:2] for line in lines] == \
        [[proof, "4" if proof == "crash" else "2"] for proof in PROOFS] + [["all", "14"]]
    assert "over" not in lines[-1] and "nothing" not in lines[-1]


def test_over_the_budget_and_what_is_missing():
    assert list(told([report("vm/test_write.py::test_d", 1000)])) == []
    *_, last = told([one for one in each(150) if "races" not in one.nodeid])
    assert last.split()[:2] == ["all", "750"]
    assert "over the budget" in last and last.endswith("nothing was run of races")


def test_what_a_test_says_of_itself_is_told_once():
    said = [report("races/test_races.py::test_a", 1, told_with=["stock kernel"])] * 3
    first, _ = told(said)
    assert first.split()[:2] == ["races", "3"] and first.endswith("s  stock kernel")


@pytest.fixture(scope="module")
def checked():
    """What `make check` runs of the proofs' tests, by name."""
    rule = "checked: ; @echo $(CHECKED)"
    done = subprocess.run(["make", "-s", "-f", "tests/tests.mk", "--eval", rule, "checked"], cwd=TOP,
                          check=True, capture_output=True, text=True)
    folders = done.stdout.split()
    wanted = [f"tests/{begin}" for begin in PROOFS.values() if f"tests/{begin.partition('/')[0]}" in folders]
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "not long",
                           *wanted], cwd=TOP, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("proof", PROOFS)
def test_make_check_has_it(proof, checked):
    assert any(name.startswith(PROOFS[proof]) for name in checked)
