# Every command sets up what it needs: the virtual environment, and the build. `make help` lists the commands.
# Requirements: Linux (x86-64 or arm64), python3.13, make and git; the network for the first set-up; chromium
# for the tests of the pages.

PYTHON ?= python3.13
BIN := .venv/bin
LOGS := .local
# One process for each core. The tests of a file run in one process, in the order of tests/conftest.py.
PYTEST := $(BIN)/pytest -q -n auto --dist loadfile --no-loadscope-reorder
# Wheels only: a source distribution would run its own code during the installation.
PIP_OPTIONS := --disable-pip-version-check --require-hashes --only-binary :all:
COMPILE := CUSTOM_COMPILE_COMMAND='make lock' $(CURDIR)/$(BIN)/pip-compile --quiet --upgrade \
	--generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

# $(call quietly,NAME,COMMAND): run COMMAND with its output in a log, and print the end of the log if it fails.
quietly = mkdir -p $(LOGS) && { { $(2) ; } > $(LOGS)/$(1).log 2>&1 || \
	{ tail -n 60 $(LOGS)/$(1).log; echo '$(1) failed (full log: $(LOGS)/$(1).log)'; exit 1; }; }

# $(LOCKED) COMMAND: run COMMAND, one at a time. Python takes the lock, so the program `flock` is not needed.
LOCKED := $(PYTHON) -c 'import fcntl, os, sys; lock = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); \
	fcntl.flock(lock, fcntl.LOCK_EX); os.set_inheritable(lock, True); os.execvp(sys.argv[2], sys.argv[2:])' \
	$(LOGS)/venv.lock

# checkov without the user's own settings: no ~/.checkov.yaml, and no API key that would send the results away.
CHECKOV := env -u BC_API_KEY -u PRISMA_API_URL HOME=$(CURDIR)/$(LOGS) LOG_LEVEL=WARNING \
	.venv-audit/bin/checkov --config-file .checkov.yaml
SHIPPED := $(LOGS)/shipped
SBOM := $(LOGS)/sbom.cdx.json
LICENCES_PAGE := docs/licences.md
# Licences that may be shipped, by the names that distributions use. MPL-2.0 requires the source of changed
# files only, and this project changes none.
ALLOWED_LICENCES := Apache-2.0;Apache Software License;BSD License;BSD-3-Clause;MIT;MIT License;MIT No \
	Attribution License (MIT-0);Mozilla Public License 2.0 (MPL 2.0);PSF-2.0

# Applications may be older than the relay, so the client library runs under Python 3.11 too.
CLIENT_LIBRARY := -p smsrelay.messages -m smsrelay.client -m smsrelay.errors
OLDER := $(LOGS)/python3.11
OLDER_NEEDS := pydantic|pydantic-core|annotated-types|typing-extensions|typing-inspection|tzdata|pytest|pluggy|$\
	iniconfig|packaging|pygments|hypothesis|sortedcontainers|phonenumberslite|gsm0338|smsutil|jsonschema-rs
OLDER_TESTS := $(patsubst %,tests/unit/test_%.py,client client_names message_catalogue phone_numbers \
	segments strict_json upstream_calls validation)

# For bandit. It checks tests and benchmarks with fewer rules, because they use assert, and their tokens and
# passwords are fictional.
AUDITED_CODE := functions layers cli tools
AUDITED_TESTS := tests tools/bench
FINE_IN_TESTS := B101,B102,B105,B106
# The templates, and the first one as SAM transforms it; the second one needs no transformation.
AUDITED_TEMPLATES := template.yaml monitoring.yaml .aws-sam/local/packages/template.json

.DELETE_ON_ERROR:
.SILENT:
.PHONY: help demo test unit integration e2e bench soak iam tokens up down status env lint types \
	template client-library typescript faults faults-mutations audit screenshots sbom licences openapi \
	lint-openapi fuzz parameters format lock build release deploy delete first-contact clean

help: ## list the commands
	awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-16s %s\n", $$1, $$2}' Makefile

demo: .venv/ready ## start a temporary stack, post every sample message to it, and check what arrives
	$(BIN)/python -m tools.local_stack demo

test: .venv/ready ## check style, types and templates, and run all tests, including the end-to-end tests
	$(MAKE) --no-print-directory -j2 audit types lint template client-library typescript
	echo 'running the tests …'
	$(PYTEST) --cov

unit: .venv/ready ## run the tests that need no AWS and no servers
	$(PYTEST) tests/unit

integration: .venv/ready typescript ## run the tests of functions, command, simulator, template and faults; AWS is simulated
	$(PYTEST) tests/integration tests/cli tests/simulator tests/template tests/promise

e2e: .venv/ready typescript ## run the end-to-end tests against a local stack
	$(PYTEST) tests/e2e

soak: .venv/ready ## make 2,000 requests while services fail and workers are killed (7 minutes; SOAK_SEED=1)
	$(BIN)/python -m tests.promise soak $(if $(SOAK_SEED),--seed $(SOAK_SEED)) \
		$(if $(SOAK_REQUESTS),--requests $(SOAK_REQUESTS))

iam: .venv/ready ## remove each permission of each role in turn, and check that a scenario fails (3 minutes)
	$(BIN)/python -m tools.local_stack iam

tokens: .venv/ready ## post messages while access tokens expire every 60 s (10 minutes; MINUTES=1)
	$(BIN)/python -m tools.local_stack tokens $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(TOKEN_SECONDS),--token-seconds $(TOKEN_SECONDS))

up: .venv/ready ## start the local stack, and leave it running (PORT=8080; TOKEN_SECONDS=60 for short-lived tokens)
	$(BIN)/python -m tools.local_stack up $(if $(TOKEN_SECONDS),--token-seconds $(TOKEN_SECONDS)) \
		$(if $(PORT),--port $(PORT))

down: ## stop the local stack
	if [ -e .venv/ready ]; then $(BIN)/python -m tools.local_stack down; \
	else echo 'The local stack is not running.'; fi

status: .venv/ready ## show whether the local stack is running, and its addresses
	$(BIN)/python -m tools.local_stack status

env: ## print the local stack's addresses and keys as shell variables: eval "$(make -s env)"
	[ -e .venv/ready ] || { echo 'The local stack is not running; `make up` starts it.' >&2; exit 1; }
	$(BIN)/python -m tools.local_stack env

lint: .venv/ready ## check style
	echo 'checking style …'
	$(call quietly,lint,$(BIN)/ruff check . && $(BIN)/ruff format --check .)

types: .venv/ready ## check types
	echo 'checking types …'
	$(call quietly,types,$(BIN)/mypy . && $(BIN)/mypy --python-version 3.11 $(CLIENT_LIBRARY))

template: .venv/ready ## check template.yaml and monitoring.yaml
	echo 'checking the templates …'
	$(call quietly,template,$(BIN)/cfn-lint template.yaml monitoring.yaml)

client-library: .venv/ready ## test the client library under Python 3.11, if it is installed
	if ! python3.11 --version > /dev/null 2>&1; then \
		echo 'python3.11 is not installed: the client library is tested under 3.13 only'; \
	else \
		echo 'testing the client library under Python 3.11 …'; \
		$(call quietly,python3.11,$(LOCKED) $(MAKE) --no-print-directory $(OLDER)/ready \
			&& PYTHONPATH=$(OLDER):layers/smsrelay:. python3.11 -B -m pytest -q -p no:cacheprovider --noconftest \
			$(OLDER_TESTS)) \
			&& echo "Python 3.11: $$(tail -n 1 $(LOGS)/python3.11.log)"; \
	fi

typescript: .venv/ready ## install the packages that check the docs' examples for Node, if npm is installed
	if ! npm --version > /dev/null 2>&1; then \
		echo 'npm is not installed: the TypeScript example is not checked'; \
	else \
		$(LOCKED) $(MAKE) --no-print-directory $(LOGS)/typescript/ready > $(LOGS)/typescript.log 2>&1 \
			|| echo 'npm failed ($(LOGS)/typescript.log): the TypeScript example is not checked'; \
	fi

$(LOGS)/typescript/ready: tools/typescript/package-lock.json
	mkdir -p $(@D)
	cp $(dir $<)package.json $< $(@D)
	cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

# This uses neither venv nor pip of python3.11, which Debian's python3.11 lacks.
$(OLDER)/ready: tools/requirements/dev.txt
	rm -rf $(OLDER)
	awk '/^[a-z]/ { keep = $$1 ~ /^($(OLDER_NEEDS))==/ } keep' $< > $(LOGS)/python3.11.txt
	$(BIN)/python -m pip install $(PIP_OPTIONS) --quiet --target $(OLDER) --python-version 3.11 \
		--no-deps -r $(LOGS)/python3.11.txt
	touch $@

faults: .venv/ready ## inject every fault, and pairs of faults, at every step of every scenario (1 to 3 hours)
	$(BIN)/python -m tests.promise promise

faults-mutations: .venv/ready ## add known errors to the relay one by one, and check that the fault tests find each
	$(BIN)/python -m tests.promise mutations

bench: .venv/ready ## compare smsrelay with two baselines (15 minutes; QUICK=1, ONLY="cold warm")
	PYTHONPATH=layers/smsrelay $(BIN)/python -m tools.bench $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

screenshots: .venv/ready ## take docs/phone-page.png and docs/api-docs.png again
	$(BIN)/python -m tests.support.browser

audit: .venv/ready .venv-audit/ready build ## check code and templates for security weaknesses
	echo 'checking for security weaknesses …'
	$(call quietly,audit,$(BIN)/bandit -c pyproject.toml -q -x tools/bench -r $(AUDITED_CODE) \
		&& $(BIN)/bandit -c pyproject.toml --skip $(FINE_IN_TESTS) -q -r $(AUDITED_TESTS) \
		&& $(CHECKOV) -f $(AUDITED_TEMPLATES))

sbom: shipped ## write the software bill of materials (CycloneDX) of the layer
	$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
		--output-file $(SBOM) $(SHIPPED)/bin/python
	echo $(SBOM)

licences: shipped ## check the licences of the layer, and write them to docs/licences.md
	$(BIN)/pip-licenses --python $(SHIPPED)/bin/python --no-version --format markdown \
		--allow-only '$(ALLOWED_LICENCES)' > $(LOGS)/licences
	sed -i '/^<!-- written by make licences -->$$/q' $(LICENCES_PAGE)
	cat $(LOGS)/licences >> $(LICENCES_PAGE)
	echo $(LICENCES_PAGE)

# A Python interpreter that finds only the packages of the layer.
.PHONY: shipped
shipped: .venv/ready build
	$(BIN)/python -m venv --clear --without-pip $(SHIPPED)
	echo $(CURDIR)/.aws-sam/local/build/Layer/python > $(SHIPPED)/lib/python3.13/site-packages/layer.pth

openapi: .venv/ready ## write the OpenAPI document, its HTML page, the schemas in docs, and docs/smsrelay.http
	PYTHONPATH=layers/smsrelay $(BIN)/python -m tools.openapi

fuzz: .venv/ready ## make 2,000 requests for each operation from the OpenAPI document (15 minutes)
	FUZZ_EXAMPLES=2000 $(BIN)/pytest -q tests/integration/test_fuzzed_handler.py

lint-openapi: ## check the OpenAPI document with Redocly and Spectral, which npx fetches (needs Node)
	REDOCLY_TELEMETRY=off npx --yes @redocly/cli@2 lint --extends=recommended-strict functions/api/openapi.json
	npx --yes @stoplight/spectral-cli@6 lint --fail-severity=hint --ruleset tools/openapi/spectral.json \
		functions/api/openapi.json

parameters: .venv/ready ## write docs/parameters.md from template.yaml
	$(BIN)/python -m tools.parameters_page

format: .venv/ready ## format the code
	$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

lock: .venv/ready ## update the lock files to the newest versions of all requirements
	echo 'locking requirements (three minutes) …'
	# The layer's lock uses the versions of dev.txt, because other packages there pin botocore, too.
	cd tools/requirements && $(COMPILE) --output-file dev.txt dev.in
	cd tools/requirements && $(COMPILE) --constraint dev.txt --output-file ../../layers/smsrelay/requirements.txt runtime.in
	cd tools/requirements && $(COMPILE) --output-file audit.txt audit.in
	$(BIN)/python -m pip install $(PIP_OPTIONS) --quiet -r tools/requirements/dev.txt
	PYTHONPATH=layers/smsrelay $(BIN)/python -m tools.requirements.numbering_plan
	echo 'next: make licences'

build: .venv/ready ## build the artefacts that the local stack is deployed from
	$(BIN)/python -m tools.local_stack build

release: sbom ## write a release into dist/: zips, templates, bill of materials, wheel, checksums
	$(BIN)/python -m tools.release $(SBOM)

deploy: .venv/ready ## deploy a stack of samconfig.toml to AWS, and print what to do next (STAGE=dev)
	$(BIN)/python -m tools.deploy deploy '$(STAGE)'

delete: .venv/ready ## delete such a stack with its clients, and print what remains (STAGE=dev; YES=1 does not ask)
	$(BIN)/python -m tools.deploy delete $(if $(filter 1,$(YES)),--yes) '$(STAGE)'

first-contact: .venv/ready ## deploy a stack, send one SMS, and report which assumptions about Marketing Cloud are true (STAGE=trial)
	PYTHONPATH=cli:layers/smsrelay $(BIN)/python -m tools.first_contact \
		$(if $(STACK_FILE),--stack-file '$(STACK_FILE)','$(STAGE)')

clean: down ## stop the local stack, and remove the environments, builds, logs, caches and the stack's keys
	rm -rf .aws-sam .local dist .venv .venv-audit .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*

.venv/ready: tools/requirements/dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2> /dev/null || { \
		echo 'python3.13 is missing: install it with `pyenv install 3.13` or `uv python install 3.13`;'; \
		echo 'if it is not on the PATH: make PYTHON=/path/to/python3.13 …'; exit 1; }
	mkdir -p $(LOGS)
	echo 'setting up .venv (a minute, once) …'
	$(LOCKED) $(MAKE) --no-print-directory venv-locked

# The lock and the check set it up only once if two commands start at the same time.
.PHONY: venv-locked
venv-locked:
	[ .venv/ready -nt tools/requirements/dev.txt ] || { $(call quietly,venv,$(PYTHON) -m venv --clear .venv \
		&& $(BIN)/python -m pip install $(PIP_OPTIONS) -r tools/requirements/dev.txt \
		&& ln -sf ../../cli/smsrelay $(BIN)/smsrelay) \
		&& touch .venv/ready; }

# checkov has its own environment, because it requires older versions of packages that the tests need.
.venv-audit/ready: tools/requirements/audit.txt | .venv/ready
	echo 'setting up .venv-audit (half a minute, once) …'
	$(LOCKED) $(MAKE) --no-print-directory venv-audit-locked

.PHONY: venv-audit-locked
venv-audit-locked:
	[ .venv-audit/ready -nt tools/requirements/audit.txt ] || { $(call quietly,venv-audit, \
		$(BIN)/python -m venv --clear --without-pip .venv-audit && $(BIN)/python -m pip \
		--python .venv-audit/bin/python install $(PIP_OPTIONS) \
		-r tools/requirements/audit.txt) && touch .venv-audit/ready; }
