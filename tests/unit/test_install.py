# SPDX-License-Identifier: GPL-2.0-or-later
"""make install and make uninstall."""
import subprocess

from conftest import TOP


def make(verb, where):
    subprocess.run(["make", "-s", "-C", TOP, verb, f"DESTDIR={where}", "PREFIX=/usr"], check=True)


def files(where):
    return {str(path.relative_to(where)): path.stat().st_mode & 0o777
            for path in where.rglob("*") if path.is_file()}


def test_install_and_uninstall(tmp_path, tool):
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/other").touch(mode=0o600)
    make("install", tmp_path)
    assert files(tmp_path) == {"usr/bin/other": 0o600, "usr/bin/llbitmapctl": 0o755,
                               "usr/share/man/man8/llbitmapctl.8": 0o644,
                               "usr/share/bash-completion/completions/llbitmapctl": 0o644}
    done = subprocess.run([tmp_path / "usr/bin/llbitmapctl", "--version"], capture_output=True,
                          text=True, check=True)
    assert done.stdout == tool("--version").out
    make("uninstall", tmp_path)
    assert files(tmp_path) == {"usr/bin/other": 0o600}
