# SPDX-License-Identifier: GPL-2.0-or-later
# Stateful testing: see README.md.

##@ Side by side with a model

.PHONY: stateful
stateful: modules all test-helpers ## random lives of arrays, compared (MINUTES=20, EXAMPLES=, SEED=, LEVEL=, BROKEN=)
	$(Q)PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/stateful/campaign.py $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(EXAMPLES),--examples $(EXAMPLES)) $(if $(SEED),--seed $(SEED)) \
		$(foreach level,$(LEVEL),--level $(level)) $(if $(BROKEN),--broken $(BROKEN))
