# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the VM fixtures known to every test below tests/."""
pytest_plugins = ["vmtest.plugin"]


def pytest_configure(config):
    config.addinivalue_line("markers", "long: for `make check-long`; `make check` has no time for it")
