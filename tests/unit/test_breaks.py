# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/vm/breaks.py keeps up with the kernel code, the tests, and the table of pitfalls."""
import re
import shutil
import sys

import pytest

from conftest import TOP

VM_TESTS = TOP / "tests/vm"
sys.path.insert(0, str(VM_TESTS))

import breaks
from vmtest import planted


@pytest.fixture(scope="module")
def source():
    return planted.patched_source()


@pytest.mark.parametrize("name", breaks.BREAKS)
def test_break_fits(source, name):
    for file, old, new in breaks.edits(name):
        text = (source / file).read_text(encoding="utf-8")
        assert old in text, f"{file} has changed"
        assert text.replace(old, new) != text


@pytest.mark.parametrize("name", breaks.BREAKS)
def test_its_tests_exist(name):
    for test in breaks.BREAKS[name][3].split():
        file, _, function = test.partition("::")
        text = (VM_TESTS / file).read_text(encoding="utf-8")
        name = function.partition("[")[0] or r"test_\w+"
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), test


PLANTED = sorted([*(VM_TESTS / "bugs").glob("*.patch"),
                  *(TOP / "tests/crash/mutations").glob("*.patch"),
                  *(TOP / "tests/faults/planted").glob("*.patch"),
                  *(TOP / "tests/races/planted").glob("*.patch")])


@pytest.mark.parametrize("patch", PLANTED, ids=lambda patch: patch.stem)
def test_planted_bug_fits(source, patch, tmp_path):
    """They are built where they are needed, which may be in `make check-long` only."""
    shutil.copytree(source, tmp_path / "drivers/md")
    planted.apply(tmp_path / "drivers/md", patch, "--check")


def test_pitfalls_name_them():
    table = [[cell.strip() for cell in line.split("|")[1:-1]]
             for line in (VM_TESTS / "PITFALLS.md").read_text(encoding="utf-8").splitlines()
             if line.startswith("| ") and not line.startswith("| pitfall")]
    assert {len(row) for row in table} == {4}
    for row in table:
        said = {"seen", "not run", "not noticed"} if row[2] else {"no break"}
        assert row[3] in said, row
    named = {name for row in table for name in row[2].split(", ") if name}
    assert named - set(breaks.BREAKS) == set()
    assert set(breaks.BREAKS) - named == set()
