# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the VM fixtures, and what short forms took, known to every test below tests/."""
pytest_plugins = ["vmtest.plugin", "short_forms"]


def pytest_configure(config):
    config.addinivalue_line("markers", "long: for `make check-long`; `make check` has no time for it")
