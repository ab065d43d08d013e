#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the part of a kernel's types that our BPF programs use.

usage: gen-vmlinux.py VMLINUX > vmlinux.h

VMLINUX is any file with the kernel's BTF (/sys/kernel/btf/vmlinux, or the one in Debian's
linux-headers). The names wanted stand below; what they refer to is taken along.
"""
import os
import re
import subprocess
import sys

TYPEDEFS = ["__s8", "__u8", "__s16", "__u16", "__s32", "__u32", "__s64", "__u64",
            "__be16", "__be32", "__wsum", "bool"]
STRUCTS = ["bpf_raw_tracepoint_args"]
ENUMS = ["bpf_map_type"]
# Members of anonymous enums.
CONSTANTS = ["false", "true", "BPF_ANY", "BPF_F_MMAPABLE", "BPF_RB_NO_WAKEUP",
             "BPF_RB_FORCE_WAKEUP", "BPF_RB_AVAIL_DATA", "BPF_RB_RING_SIZE"]

HEAD = """\
/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel types that our BPF programs use, and no others.
 *
 * Generated: `make vmlinux.h` runs bpf/gen-vmlinux.py, which holds the list of
 * names, on the BTF of a stock Debian 6.12 kernel. Do not edit.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__
"""

TAIL = "\n\n#endif\n"


def definitions(text):
    """Top-level definitions of a C dump, keyed by "struct x", "enum x" or "typedef x"."""
    found = {}
    constants = {}
    for block in re.findall(r"^(?:struct|union|enum)[^;{]*\{.*?^\};|^typedef [^;{]*;",
                            text, re.M | re.S):
        head = block.split("{", 1)[0].strip()
        if head.startswith("typedef"):
            name = re.search(r"(\w+)(?:\[\w*\])?;$", block)
            if name:  # no pointers to functions
                found["typedef " + name.group(1)] = block
        elif head == "enum":
            for name, value in re.findall(r"(\w+) = (-?\w+)", block):
                constants.setdefault(name, value)
        else:
            found[head] = block
    return found, constants


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    bpftool = os.environ.get("BPFTOOL", "bpftool")
    text = subprocess.run([bpftool, "btf", "dump", "file", sys.argv[1], "format", "c"],
                          check=True, capture_output=True, text=True).stdout
    found, constants = definitions(text)
    out, done = [], set()

    def take(key):
        if key in done:
            return
        done.add(key)
        if key not in found:
            sys.exit(f"gen-vmlinux.py: {sys.argv[1]} has no {key}")
        block = found[key]
        # What this definition needs first.
        if key.startswith("typedef"):
            needs = block.split()[1:-1]
        else:
            needs = re.findall(r"\b(\w+)\b", block.split("{", 1)[1])
        for word in needs:
            if "typedef " + word in found:
                take("typedef " + word)
        out.append(block)

    for name in TYPEDEFS:
        take("typedef " + name)
    for name in ENUMS:
        take("enum " + name)
    for name in STRUCTS:
        take("struct " + name)
    missing = [name for name in CONSTANTS if name not in constants]
    if missing:
        sys.exit(f"gen-vmlinux.py: {sys.argv[1]} has no {' '.join(missing)}")
    out.append("enum {\n" + "".join(f"\t{n} = {constants[n]},\n" for n in CONSTANTS) + "};")
    typedefs = [b for b in out if b.startswith("typedef")]
    others = [b for b in out if not b.startswith("typedef")]
    print(HEAD + "\n" + "\n".join(typedefs) + "\n\n" + "\n\n".join(others) + TAIL, end="")


if __name__ == "__main__":
    main()
