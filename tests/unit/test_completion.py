# SPDX-License-Identifier: GPL-2.0-or-later
"""bash completion: what is offered behind the words of a command line."""
import re
import subprocess

import pytest

from conftest import BUILD, TOP

SCRIPT = """
source "$1"; _llbitmapctl_blocks=$2; shift 2
compopt() { :; }        # exists only while bash completes
COMP_WORDS=(llbitmapctl "$@"); COMP_CWORD=$#
_llbitmapctl "$TOOL" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def offered(tmp_path):
    """offered(words): behind the last of them, which may be a part of one."""
    for name in ("md0", "md127", "sda"):
        (tmp_path / "block" / name).mkdir(parents=True)
    (tmp_path / "run.llbrec").touch()

    def offered(*words):
        done = subprocess.run(
            ["bash", "-c", SCRIPT, "bash", TOP / "tools/llbitmapctl/completion.bash",
             tmp_path / "block", *words], cwd=tmp_path, capture_output=True, text=True,
            env={"TOOL": BUILD / "llbitmapctl", "PATH": "/usr/bin:/bin"}, check=True)
        assert not done.stderr
        return set(done.stdout.split())

    return offered


def test_commands(offered, tool):
    commands = set(re.findall(r"^  (\w+) +\S", tool("help").out, re.M))
    assert offered("") == commands | {"help", "--help", "--version"}
    assert offered("re") == {"record", "replay"}


def test_options_of_every_command(offered, tool):
    for command in re.findall(r"^  (\w+) +\S", tool("help").out, re.M):
        text = tool(command, "--help").out.split("Options:")[1]
        assert offered(command, "-") == set(re.findall(r"^ .*?(--[a-z-]+)", text, re.M))


@pytest.mark.parametrize("words, wanted", [
    (("status", ""), {"md0", "md127"}),
    (("audit", "--array", ""), {"md0", "md127"}),
    (("trace", "-a", "md1"), {"md127"}),
    (("trace", "--state", ""), {"Unwritten", "Clean", "Dirty", "NeedSync", "Syncing"}),
    (("trace", "-A", "Sta"), {"Startwrite", "Startsync", "Stale"}),
    (("trace", "-t", "re"), {"resize"}),
    (("replay", "--as", ""), {"audit", "trace", "top", "hist"}),
    (("top", "-s", ""), {"name", "transitions", "dirty", "writes"}),
    (("replay", ""), {"run.llbrec", "block"}),
    (("record", "-o", "r"), {"run.llbrec"}),
    (("audit", "--duration", ""), set()),
    (("doctor", ""), set()),
    (("nonsense", ""), set()),
    (("audit", "--", "dd", "r"), {"run.llbrec"}),
])
def test_arguments(offered, words, wanted):
    assert offered(*words) == wanted


def test_a_command_behind_two_dashes(offered):
    assert "bash" in offered("record", "-o", "x", "--", "bas")
