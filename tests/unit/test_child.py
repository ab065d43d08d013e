# SPDX-License-Identifier: GPL-2.0-or-later
"""live/child.c: the command behind "--"."""
import errno
import json
import subprocess

import pytest

from conftest import BUILD


def child(*command):
    done = subprocess.run([BUILD / "llb-child", *map(str, command)], capture_output=True, text=True,
                          timeout=20, check=True)
    *said, last = done.stdout.splitlines()
    return said, done.stderr, json.loads(last)


def test_command_runs():
    assert child("sh", "-c", "echo here; exit 3") == (["here"], "", {"error": 0, "status": 3})


@pytest.mark.parametrize("what, error", [
    ("no-such-command", errno.ENOENT), ("./file", errno.EACCES), (".", errno.EACCES)])
def test_command_that_cannot_be_run(tmp_path, monkeypatch, what, error):
    """Told to who started it, and nobody else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("#!/bin/sh\n")
    assert child(what, "--argument") == ([], "", {"error": error, "status": 127})
