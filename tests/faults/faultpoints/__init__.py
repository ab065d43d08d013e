# SPDX-License-Identifier: GPL-2.0-or-later
"""Each call of the bitmap that can fail, made to fail: see tests/faults/README.md."""
