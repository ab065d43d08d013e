# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of `make mdadm-tests`: one of mdadm's own scripts with lockless bitmaps."""
import pathlib
import subprocess

import pytest

from levels import cases
from mdadmsuite import runner
from vmtest import planted

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def suite():
    done = subprocess.run([HERE / "suite"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        pytest.skip("mdadm's source package cannot be fetched")
    return pathlib.Path(done.stdout.strip())


@cases("script, created", ("00raid1", 1), long=[("00raid4", 2)])
def test_with_lockless_bitmaps(vm_environment, vm_directories, tmp_path, suite, script, created):
    """It passes, and the arrays were what it is about: each new one had nothing to sync."""
    directory = vm_directories.take(f"mdadm-{script}")
    record = runner.run_script(vm_environment, directory, suite, script, "lockless",
                               runner.TIMEOUT, tmp_path)
    assert record["outcome"] == "pass", (tmp_path / f"{script}.lockless.log").read_text()
    assert record["trouble"] == ""
    assert record["nothing_to_sync"] == created
    assert record["made"] == created


@pytest.mark.long
def test_planted_bug_fails_a_script(vm_environment, vm_directories, tmp_path, suite):
    """The bitmap is written over the data: the script finds parity that is wrong, or other data."""
    if vm_environment.md_built_in:
        pytest.skip("exchanges md's modules, and this kernel has md built in")
    modules = planted.bug(HERE / "planted" / "bitmap-in-the-data.patch")
    record = runner.run_script(vm_environment, vm_directories.take("mdadm-planted"), suite,
                               "19repair-does-not-destroy", "lockless", runner.TIMEOUT, tmp_path,
                               modules=modules)
    assert record["outcome"] == "fail" and record["made"] == 1, record
    assert record["why"] in ("errors detected", "should not mess up correct stripe")
