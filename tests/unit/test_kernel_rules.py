# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules that events are judged by are those that the kernel follows: no more, no less."""
import pathlib
import re
import subprocess

import pytest

from conftest import BUILD, TOP

HERE = pathlib.Path(__file__).parent


def part(text, first, last):
    """From the line that begins with `first` to before the one that begins with `last`."""
    return re.search(rf"^{re.escape(first)}.*?(?=^{re.escape(last)})", text, re.M | re.S).group()


@pytest.fixture(scope="module")
def machine():
    """The kernel's state machine, as C that compiles outside it."""
    printed = subprocess.run([TOP / "kernel-patch/modules/patched-source"], check=True,
                             capture_output=True, text=True).stdout
    header, code = (pathlib.Path(printed.strip(), name).read_text()
                    for name in ("md-llbitmap.h", "md-llbitmap-state.c"))
    return "\n".join([
        "#include <stdbool.h>", "#include <stdint.h>",
        "typedef uint8_t u8; typedef uint32_t u32;", "#define VISIBLE_IF_KUNIT",
        part(header, "enum llb_state {", "enum llb_decision {"),
        part(code, "#define NONE ", "/* The context rules"),
        part(code, "static bool has_all", "/* What nobody has to claim"),
        "u8 kernel_next(u8 from, int action, u32 flags) { return llb_next(from, action, flags); }"])


def differences(machine, work):
    (work / "machine.c").write_text(machine)
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-Wno-unused-const-variable", "-o", work / "compare",
                    work / "machine.c", HERE / "kernel_rules.c", BUILD / "libllb.a"], check=True)
    done = subprocess.run([work / "compare"], capture_output=True, text=True, check=False)
    assert done.returncode == (1 if done.stdout else 0), done.stderr
    return done.stdout


def test_equal(machine, tmp_path):
    assert differences(machine, tmp_path) == ""


def test_difference_is_seen(machine, tmp_path):
    """One flag less that the kernel asks for, one more, and a cell of the table."""
    for kernels, other in (("LLB_F_DRAINED | LLB_F_FLUSHED)", "LLB_F_FLUSHED)"),
                           ("LLB_F_RECOVERING | LLB_F_COPIES", "LLB_F_RECOVERING"),
                           ("[LLB_RELOAD]\t = LLB_NEEDSYNC", "[LLB_RELOAD]\t = NONE")):
        assert kernels in machine
        assert differences(machine.replace(kernels, other), tmp_path)
