# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/vm/breaks.py keeps up with the kernel code, the tests, and the table of pitfalls."""
import functools
import importlib.util
import os
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


FAILS_TWICE = """
import pytest

@pytest.fixture
def end():
    yield
    assert False, "its end"

@pytest.mark.parametrize("level", [5])
def test_it(end, level):
    assert False, "the test"
"""


def test_level_of_a_case_whose_end_fails_as_well(tmp_path):
    """A panic does that. pytest reports it twice then."""
    test = tmp_path / "test_it.py"
    test.write_text(FAILS_TWICE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(VM_TESTS), "PYTEST_ADDOPTS": "-p vmtest.plugin"}
    assert [(level, what) for _, level, what, _ in breaks.cases(test, environment)] == \
        [("5", "failure"), ("5", "error")]


PLANTED = sorted([*(VM_TESTS / "bugs").glob("*.patch"),
                  *(VM_TESTS / "windows").glob("*.patch"),
                  *(TOP / "tests/crash/mutations").glob("*.patch"),
                  *(TOP / "tests/faults/planted").glob("*.patch"),
                  *(TOP / "tests/races/planted").glob("*.patch")])


@pytest.mark.parametrize("patch", PLANTED, ids=lambda patch: patch.stem)
def test_planted_bug_fits(source, patch, tmp_path):
    """They are built where they are needed, which may be in `make check-long` only."""
    shutil.copytree(source, tmp_path / "drivers/md")
    planted.apply(tmp_path / "drivers/md", patch, "--check")


def parameters(function, name):
    """[(id, value of that parameter), ...] of the cases of a test; plain values have such ids."""
    for mark in getattr(function, "pytestmark", ()):
        names = mark.args[0].replace(" ", "").split(",") if mark.name == "parametrize" else ()
        if name in names:
            for case in mark.args[1]:
                values = getattr(case, "values", case)
                values = values if len(names) > 1 or hasattr(case, "values") else [values]
                yield "-".join(getattr(value, "__name__", str(value)) for value in values), \
                    values[names.index(name)]


@functools.cache
def module_of(path):
    """The module, by a name of its own: two folders have files of the same name."""
    spec = importlib.util.spec_from_file_location(f"breaks {path.parent.name} {path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    sys.path.pop(0)
    return module


def levels(test):
    """RAID levels that a test of breaks.py has."""
    file, _, function = test.partition("::")
    function, _, case = function.rstrip("]").partition("[")
    module = module_of((VM_TESTS / file).resolve())
    functions = [getattr(module, function)] if function else \
        [value for name, value in vars(module).items() if name.startswith("test_")]
    return {level for function in functions for one, level in parameters(function, "level")
            if not case or f"-{one}-" in f"-{case}-"}


def test_levels_are_those_of_the_tests():
    assert levels("test_members.py::test_no_member_takes_bitmap_writes") == {1, 5, 10, 6}
    assert levels("test_write.py::test_second_plugged_writer_waits") == {1, 10}
    assert levels("test_write.py::test_reads_change_nothing") == set()
    assert levels("test_refused.py::test_write_that_nothing_can_tell_of[10-4-failed]") == {10}


# levels that have the code of a file; others are for all levels
PERSONALITIES = {"raid1.c": {1}, "raid10.c": {10}, "raid5.c": {5, 6}}


def rows(text):
    """The rows of a table, as cells."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()
            if line.startswith("| ") and not line.startswith("| pitfall")]


def in_need_of_a_reason(names, all_levels, tested):
    """Levels that have code which these breaks change, and no test; that of one level alone is
    tested on that level, also by tests that do not say so."""
    files = {file for name in names for file, *_ in breaks.edits(name)}
    changed = set().union(*(PERSONALITIES.get(file, all_levels) for file in files)) & all_levels
    return set() if len(changed) == 1 and not tested else changed - tested


def test_pitfalls_name_them():
    text = (VM_TESTS / "PITFALLS.md").read_text(encoding="utf-8")
    first, second = map(rows, text.split("\nParity levels:\n"))
    table = [(row, {1, 10, 5, 6}) for row in first] + [(row, {5, 6}) for row in second]
    assert {len(row) for row, _ in table} == {4}
    named = set()
    for (pitfall, _, names, came), all_levels in table:
        said = [one.partition(": ") for one in came.split("; ")]
        reasons = [one for one in said if one[0] in ("any level", "no other")]
        said = [one for one in said if one not in reasons]
        assert {what for what, *_ in said} <= \
            ({"seen", "not run", "not noticed"} if names else {"no break"}), pitfall
        names = set(names.split(", ")) - {""}
        planted_bugs = {name for name in names if name.startswith("races:")}
        assert planted_bugs <= {f"races:{patch.stem}" for patch in PLANTED}
        names -= planted_bugs
        named |= names
        tested = {level for name in names for test in breaks.BREAKS[name][3].split()
                  for level in levels(test)}
        # what is said of levels is said of each that the tests have, once
        of_levels = [int(level) for *_, list_ in said for level in list_.split()]
        assert sorted(of_levels) == sorted(tested), pitfall
        assert of_levels or len(said) == 1, pitfall
        # and if some level has no test, why
        assert len(reasons) == bool(in_need_of_a_reason(names, all_levels, tested)), pitfall
        assert all(why for *_, why in reasons), pitfall
    assert named == set(breaks.BREAKS)
