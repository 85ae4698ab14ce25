# Run by sam, in a copy of this folder. Needed on the build machine: python3.13 with pip.
PYTHON ?= python3.13
# sam names this file in the checkout; installed dependencies stay in .aws-sam for the next build.
CHECKOUT := $(abspath $(dir $(firstword $(MAKEFILE_LIST)))../../..)

.PHONY: build-Layer
build-Layer:
	$(PYTHON) -B "$(CHECKOUT)/tools/build_layer.py" --architecture $(ARCHITECTURE) \
		--cache "$(CHECKOUT)/.aws-sam/dependencies" "$(ARTIFACTS_DIR)/python"
