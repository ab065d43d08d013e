# SPDX-License-Identifier: GPL-2.0-or-later
"""vmlinux.h is what `make vmlinux.h` writes, and holds nothing that our programs can do without."""
import os
import pathlib
import re
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
HEADER = (TOP / "vmlinux.h").read_text(encoding="utf-8")
SOURCES = sorted((TOP / "bpf").glob("*.bpf.c"))
CLANG = os.environ.get("CLANG", "clang")

CACHE = pathlib.Path(os.environ.get("CACHE") or pathlib.Path(
    os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "llbitmap"))
KERNELS = sorted(CACHE.glob("kernels/*/usr/src/linux-headers-*/vmlinux"))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.parent.name)
def test_is_what_the_generator_writes(kernel):
    """Of every 6.12 kernel that is here: an update changes nothing."""
    bpftool = next((path for path in ("/usr/sbin/bpftool", "/usr/bin/bpftool")
                    if os.path.exists(path)), "bpftool")
    made = subprocess.run([TOP / "bpf/gen-vmlinux.py", kernel], check=True, capture_output=True,
                          text=True, env={**os.environ, "BPFTOOL": bpftool})
    assert made.stdout == HEADER


def definitions():
    """Name and text of all that the header defines; of the enum without name, each member."""
    body = HEADER.split("#define __VMLINUX_H__\n")[1].rsplit("#endif", 1)[0]
    constants = body.split("enum {\n")[1]
    found = {re.search(r"(\w+);$", text)[1]: text
             for text in re.findall(r"^typedef .*;$", body, re.M)}
    found.update((block[1], block[0]) for block in
                 re.finditer(r"^((?:struct|union|enum) \w+) \{.*?^\};$", body, re.M | re.S))
    found.update((text.split()[0], text) for text in re.findall(r"^\t\w+ = .*,$", constants, re.M))
    left = body
    for text in found.values():
        left = left.replace(text + "\n", "", 1)
    assert left.split() == ["enum", "{", "};"], "something that this does not understand"
    return found


def compiles(folder):
    """Do all programs, with the vmlinux.h in this folder?"""
    return all(subprocess.run(
        [CLANG, "-target", "bpf", "-fsyntax-only", "-w", f"-I{folder}", f"-I{TOP / 'bpf'}", source],
        capture_output=True, check=False).returncode == 0 for source in SOURCES)


def test_nothing_can_be_left_out(tmp_path):
    header = tmp_path / "vmlinux.h"
    header.write_text(HEADER, encoding="utf-8")
    assert compiles(tmp_path)
    spare = []
    for name, text in definitions().items():
        header.write_text(HEADER.replace(text + "\n", "", 1), encoding="utf-8")
        if compiles(tmp_path):
            spare.append(name)
    assert spare == []
