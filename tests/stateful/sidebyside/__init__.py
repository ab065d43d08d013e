# SPDX-License-Identifier: GPL-2.0-or-later
"""A real array in a VM and a model of it, side by side."""
