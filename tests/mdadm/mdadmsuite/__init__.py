# SPDX-License-Identifier: GPL-2.0-or-later
"""mdadm's own test suite on our modules and on stock ones: see tests/mdadm/README.md."""
