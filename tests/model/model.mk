# SPDX-License-Identifier: GPL-2.0-or-later
# The model of the bitmap page's protocol, checked exhaustively.

DEPS += spin gcc

##@ The protocol

.PHONY: model
model: ## check the protocol's model, and that each planted bug is found (a minute)
	$(Q)tests/model/run
