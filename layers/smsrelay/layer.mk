# Run by sam in a copy of this folder. Needed on the build machine: python3.13 with pip.
PYTHON ?= python3.13
# The checkout's own .aws-sam, where the installed dependencies stay for the next build.
KEPT := $(abspath $(dir $(firstword $(MAKEFILE_LIST)))../../../.aws-sam/dependencies)

.PHONY: build-Layer
build-Layer:
	$(PYTHON) -B build_layer.py --architecture $(ARCHITECTURE) --kept "$(KEPT)" "$(ARTIFACTS_DIR)/python"
