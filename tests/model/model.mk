# SPDX-License-Identifier: GPL-2.0-or-later
# The models of the bitmap's protocols, checked exhaustively.

DEPS += spin gcc

##@ The protocol

.PHONY: model
model: ## check the protocols' models, and that each planted bug is found (two minutes)
	$(Q)tests/model/run
