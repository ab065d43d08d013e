# SPDX-License-Identifier: GPL-2.0-or-later
"""live/child.c: the command behind "--"."""
import errno
import json
import subprocess

import pytest

from conftest import BUILD


FINE = {"error": 0, "status": 0, "signal": 0, "slow": 0}


def child(*command):
    with subprocess.Popen([BUILD / "llb-child", *map(str, command)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if "end me" in command[-1]:
            assert process.stdout.readline() == "end me\n"
            process.stdin.write("now")
            process.stdin.close()
        process.wait(timeout=20)
        assert process.returncode == 0
        *said, last = process.stdout.read().splitlines()
        return said, process.stderr.read(), json.loads(last)


def test_command_runs():
    assert child("sh", "-c", "echo here; exit 3") == (["here"], "", {**FINE, "status": 3})


@pytest.mark.parametrize("trap, ended", [
    ("", {"signal": 15}), ("trap '' TERM; ", {"signal": 9, "slow": 1}),
    ("trap 'sleep 2; exit 5' TERM; ", {"status": 5, "slow": 1})])
def test_command_is_ended(trap, ended):
    """Who waits for a stubborn one can say so."""
    # the shell's own words about its sleep are not ours
    script = "exec 2>/dev/null; " + trap + "echo end me; while :; do sleep 0.1; done"
    assert child("sh", "-c", script) == ([], "", {**FINE, **ended})


@pytest.mark.parametrize("what, error", [
    ("no-such-command", errno.ENOENT), ("./file", errno.EACCES), (".", errno.EACCES)])
def test_command_that_cannot_be_run(tmp_path, monkeypatch, what, error):
    """Told to who started it, and nobody else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("#!/bin/sh\n")
    assert child(what, "--argument") == ([], "", {**FINE, "error": error, "status": 127})
