# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands on the running kernel say on a terminal while they run."""
import re

import pytest

pytest.importorskip("pyte")

# pylint: disable=wrong-import-position
from support import write
from terminal import Terminal
from vmtest import DiskOptions

pytestmark = pytest.mark.vm(disks=2, cpus=1, disk=DiskOptions(size="64M"))


@pytest.fixture
def array(vm):
    return vm.create_array(level=1, disks=2)


@pytest.mark.parametrize("command, begins, runs, ends", [
    ("record -o /root/x.llb", "recording 1 array to /root/x.llb; Ctrl-C ends it",
     r"[1-9]\d* events, \d+ bytes, 0 lost", r"/root/x.llb: \d+ events, \d+ bytes"),
    ("audit", "watching 1 array; Ctrl-C ends it with the verdict",
     r"[1-9]\d* events, 0 violations, 0 lost", "verdict: pass"),
    ("hist", "measuring 1 array; Ctrl-C shows the result", r"[1-9]\d* events, 0 lost",
     "daemon pass: ")])
def test_how_far_it_is(vm, array, command, begins, runs, ends):
    with Terminal(vm, f"llbitmapctl {command}", rows=70) as screen:
        assert screen.wait(begins)[0] == f"llbitmapctl: {begins}"
        write(vm, array, 0)
        lines = screen.wait(lambda lines: len(lines) > 1 and re.fullmatch(runs, lines[1]))
        assert not any(lines[2:])
        screen.keys("\x03")
        assert screen.end() == 0
        text = "\n".join(screen.look())
        assert re.search(ends, text) and not re.search(runs + "$", text, re.M), text


def test_a_command_has_the_terminal(vm, array):
    """Nothing between its lines, until it does not end."""
    command = "trap '' TERM; sleep 3; echo done; while :; do sleep 0.1; done"
    with Terminal(vm, f'llbitmapctl audit -- sh -c "{command}"') as screen:
        lines = screen.wait("done")
        assert [line for line in lines if line] == [
            "llbitmapctl: watching 1 array; Ctrl-C ends it with the verdict", "done"]
        screen.signal(15)
        screen.wait("waiting for the command to end; in a few seconds it is killed")
        screen.wait("verdict: ", timeout=30)
        assert screen.end() == 0


def test_nothing_elsewhere(vm, array):
    result = vm.run("llbitmapctl record -o /root/x.llb -d 3")
    assert result.stderr == ""
