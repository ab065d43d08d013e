# SPDX-License-Identifier: GPL-2.0-or-later
"""Power cuts, worked out from a log of all that the members were sent: see tests/crash/README.md."""
