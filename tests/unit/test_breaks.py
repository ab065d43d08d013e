# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/vm/breaks keeps up with the kernel code, the tests, and the table of pitfalls."""
import importlib.machinery
import importlib.util
import re
import shutil
import subprocess
import sys

import pytest

from conftest import TOP

VM_TESTS = TOP / "tests/vm"


def load():
    loader = importlib.machinery.SourceFileLoader("breaks", str(VM_TESTS / "breaks"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("breaks", loader))
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = keep
    return module


breaks = load()


@pytest.fixture(scope="module")
def source():
    """drivers/md as the series makes it."""
    return breaks.patched_source()


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
                  *(TOP / "tests/faults/planted").glob("*.patch")])


@pytest.mark.parametrize("patch", PLANTED, ids=lambda patch: patch.stem)
def test_planted_bug_fits(source, patch, tmp_path):
    """They are built where they are needed, which may be in `make check-long` only."""
    shutil.copytree(source, tmp_path / "drivers/md")
    done = subprocess.run(["git", "apply", "--check", patch], cwd=tmp_path, capture_output=True,
                          text=True, env={"GIT_CEILING_DIRECTORIES": str(tmp_path.parent),
                                          "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr


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
