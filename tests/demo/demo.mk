# SPDX-License-Identifier: GPL-2.0-or-later
# The demo: what the project does, on a real array.

##@ To look at

.PHONY: demo demo-run pictures
demo: ## set up everything and show the main job on a real array in a VM
	$(Q)$(MAKE) --no-print-directory deps
	$(Q)$(MAKE) --no-print-directory demo-run

demo-run: modules all
	$(Q)PYTHONPATH=tests/vm $(PYTHON) tests/demo/demo.py

pictures: modules all ## take README's terminal pictures anew (wants python3-pyte, python3-rich)
	$(Q)PYTHONPATH=tests/vm $(PYTHON) tests/demo/pictures.py
