# SPDX-License-Identifier: GPL-2.0-or-later
"""Who brings a recording to the disk tells what went wrong, and leaves nothing out."""
import subprocess

import pytest

from conftest import BUILD


@pytest.fixture
def syncer(tmp_path):
    def run(*args):
        return subprocess.run([BUILD / "llb-syncer", "run", *map(str, args)], cwd=tmp_path, check=True,
                              capture_output=True, text=True, timeout=60).stdout.splitlines()

    return run


@pytest.mark.parametrize("asks, fails", [(1, 1), (1, 2), (2, 3), (3, 2)])
def test_error_is_told_at_the_latest_by_stop(syncer, asks, fails):
    """Linux tells it once, and another sync of the file succeeds."""
    *syncs, end = syncer(asks, fails)
    assert [sync for sync in syncs if sync.endswith("fails")]
    assert end == "stop: Input/output error"


@pytest.mark.parametrize("asks", [0, 1, 3])
def test_name_lasts_too(syncer, asks):
    """However short the session was: that of the folder once, the file as often as asked."""
    *syncs, end = syncer(asks)
    assert (syncs.count("dir"), syncs.count("data"), end) == (1, asks, "stop: fine")


def test_name_lasts_when_stopped_at_once(syncer):
    """Before what was asked for was begun, or meanwhile."""
    *syncs, end = syncer(-1)
    assert (syncs.count("dir"), end) == (1, "stop: fine")


def test_folder_that_fails_is_told(syncer):
    assert syncer(0, 1) == ["dir fails", "stop: Input/output error"]
