# SPDX-License-Identifier: GPL-2.0-or-later
"""Live commands where they cannot work: one clear line, exit 4, nothing left behind."""
import os
import pathlib
import subprocess

import pytest

LIVE = ["trace", "hist", "audit", "top --batch -n 1", "record -o {0}"]

pytestmark = pytest.mark.skipif(
    any(pathlib.Path(root, "events/llbitmap").exists()
        for root in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")),
    reason="this kernel has our tracepoints")


def one_line(done, status):
    assert done.status == status, done.err
    assert done.err.startswith("llbitmapctl: ") and done.err.count("\n") == 1, done.err


@pytest.mark.parametrize("command", LIVE)
def test_no_tracepoints_or_no_privilege(tool, tmp_path, command):
    output = tmp_path / "run.llbrec"
    one_line(tool(*command.format(output).split(), timeout=20), 4)
    assert not output.exists()


def test_an_old_recording_survives_a_failed_start(tool, tmp_path):
    output = tmp_path / "run.llbrec"
    output.write_text("precious")
    assert tool("record", "-o", output, timeout=20).status == 4
    assert output.read_text() == "precious"


@pytest.mark.parametrize("command", ["status", "trace", "hist", "top --batch -n 1"])
def test_unknown_array(tool, command):
    one_line(tool(*command.split(), "md7777", timeout=20), 4)


def test_error_is_json_too(tool):
    done = tool("audit", "--json", timeout=20)
    assert done.status == 4
    assert (done.json["schema"], done.json["exit"]) == ("llbitmapctl.error/1", 4)


def test_output_that_cannot_be_made(tool, tmp_path):
    one_line(tool("record", "-o", tmp_path / "absent/run.llbrec"), 5)
    one_line(tool("record"), 2)


def test_without_privilege(tool):
    if os.geteuid():
        pytest.skip("the other tests ran without privilege")
    for command in ("audit", "trace"):
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               "--bounding-set=-all", tool.path, command], capture_output=True,
                              text=True, timeout=20)
        assert done.returncode == 4
        assert "not permitted; run as root" in done.stderr and done.stderr.count("\n") == 1
