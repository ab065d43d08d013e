# SPDX-License-Identifier: GPL-2.0-or-later
"""A package, so that a test file here may have the name of one in another folder."""
