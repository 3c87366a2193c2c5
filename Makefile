# Every target sets up what it needs first: a virtual environment in .venv, Prometheus and Alertmanager in .local/tools.
# PYTHON=python3.12 takes that Python; where .venv is another's, in an environment of its own, .local/python3.12.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
SERVED     := import sys; v = sys.version_info[:2]; print("%d.%d" % v); sys.exit(not (3, 11) <= v <= (3, 13))
version     = $(if $1,$(shell $1 -c '$(SERVED)' 2>/dev/null))
VENV       := .venv
ifdef PYTHON
ifneq ($(wildcard .venv/bin/python),)
ifneq ($(call version,$(PYTHON)),$(call version,.venv/bin/python))
VENV       := .local/python$(call version,$(PYTHON))
endif
endif
endif
ON_PATH    := python3.13 python3.12 python3.11 python3
PYTHON     ?= $(shell for one in $(ON_PATH); do $$one -c '$(SERVED)' >/dev/null 2>&1 && { echo $$one; break; }; done)
BIN        := $(VENV)/bin
TOOLS      := .local/tools/bin
REFERENCE  ?=
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS     := true
export PYTHONUNBUFFERED    := 1

COMPILED := evidently numpy pandas pyarrow pydantic scipy sklearn   # what `report` imports: it would take twice as long
say = @printf '\033[1m==> %s\033[0m\n'

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(VENV)/.ready .local/.ready ## the virtual environment and the binaries, and nothing else

$(VENV)/.ready: pyproject.toml uv.lock
	$(say) "Python packages into $(VENV) (about 2.9 GB, once)"
	@[ -n "$(PYTHON)" ] || { echo "No Python 3.11, 3.12 or 3.13 is on PATH. Install one (Debian, Ubuntu: apt install python3 python3-venv), or say where it is: make PYTHON=/path/to/python3"; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there; say where Python is: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c '$(SERVED)' >/dev/null 2>&1 || { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13; say where one is: make PYTHON=/path/to/python3"; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) has no venv module (Debian, Ubuntu: apt install python$(call version,$(PYTHON))-venv)"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null   # a .venv that uv has made
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@UV_PROJECT_ENVIRONMENT=$(CURDIR)/$(VENV) TMPDIR=$(CURDIR)/$(VENV) $(BIN)/uv sync --frozen --all-extras --inexact || { echo "The packages could not be installed: see above. A proxy? Set HTTPS_PROXY. Own certificates? Set SSL_CERT_FILE."; exit 1; }
	@cd $(VENV)/lib/python3.*/site-packages && $(CURDIR)/$(BIN)/python -W ignore -m compileall -q -j 0 -x '/tests?/' $(COMPILED) >/dev/null || true
	@touch $@

.local/.ready: $(VENV)/.ready scripts/prometheus_tools.py
	$(say) "Prometheus and Alertmanager"
	@mkdir -p .local && $(BIN)/python -m scripts.prometheus_tools
	$(say) "Audio: compile once what librosa needs"
	@$(BIN)/python -m api.audio
	@touch $@

.PHONY: run
run: setup ## the whole stack as local processes; prints the addresses, Ctrl-C stops all
	@$(BIN)/python -m scripts.stack

.PHONY: demo
demo: setup ## the stack, then the loop closes by itself: drift, alert, retraining, promotion, recovery (EXAMPLE=flights for a regression of real flights, flights_late for two categories of them, car_loans for loans, fleet for three models of which one drifts)
	$(say) "The demo"
	@$(BIN)/python -m scripts.$(if $(filter fleet,$(EXAMPLE)),fleet_demo,demo $(if $(EXAMPLE),--example "$(EXAMPLE)") $(if $(REFERENCE),--reference "$(REFERENCE)"))

# Run tests; what fails beside the others is run once more by itself, named, and only what fails again counts.
tests_of = $(BIN)/python -m pytest --durations=10 $1 || \
	{ [ $$? = 1 ] && printf '\033[1m==> %s\033[0m\n' "What failed beside the others, once more by itself: only what fails again counts" && \
	$(BIN)/python -m pytest -v --last-failed --last-failed-no-failures none $(filter tests/%,$1); }

.PHONY: test
test: setup ## every test that this machine can run
	$(say) "Tests of parts, on all cores"
	@$(call tests_of,-n auto --dist worksteal tests/unit tests/contract)
	$(say) "Tests of the stack, as local processes and in containers, side by side"
	@$(call tests_of,-n 3 --dist loadscope --no-loadscope-reorder tests/containers tests/stack)

# What on another Python or on the lowest versions may be otherwise; `make test PYTHON=python3.12` runs all.
VERSIONS := --ignore tests/contract/test_alerts.py tests/contract \
            $(patsubst %,tests/unit/test_%.py,api_audio api_predict check_config conversion examples settings suite times)
OTHERS    = $(ON_PATH) $$(ls -dr ~/.pyenv/versions/3.*/bin/python3 2>/dev/null)

.PHONY: test-other
test-other: setup ## the contract tests and some quick unit tests of what may depend on Python's version, on one more Python of 3.11 to 3.13 where there is one (`make test PYTHON=python3.12`: every test on it)
	@for one in $(OTHERS); do \
		found=$$($$one -c 'import ensurepip, venv; $(SERVED)' 2>/dev/null) && [ "$$found" != $(call version,$(BIN)/python) ] && exec $(MAKE) test-versions PYTHON="$$one"; \
	done; echo "No other Python of 3.11 to 3.13 is here: nothing more to test"

.PHONY: test-versions
test-versions: setup
	$(say) "Tests of what may depend on versions, on $$($(BIN)/python --version)"
	@$(BIN)/python -m pytest -n auto --dist worksteal $(VERSIONS)

.PHONY: test-lowest
test-lowest: setup ## the same on the lowest versions that pyproject.toml allows, in .local/lowest (PYTHON=python3.13)
	$(say) "Tests of what may depend on versions, on the lowest that are allowed"
	@$(BIN)/python -m venv --clear .local/lowest
	@$(BIN)/uv pip install --quiet --python .local/lowest --resolution lowest-direct --all-extras --group dev -r pyproject.toml uv==$(UV_VERSION)   # `uv sync` would write uv.lock anew
	@.local/lowest/bin/python -m api.audio
	@.local/lowest/bin/python -m pytest -n auto --dist worksteal $(VERSIONS)

FAULTS       := $(patsubst tests/stack/test_faults_%.py,%,$(wildcard tests/stack/test_faults_*.py)) containers
FAULTS_FILES  = $(if $(filter containers,$1),$(addprefix tests/containers/test_containers_,faults.py recovery.py),tests/stack/test_faults_$1.py)

.PHONY: test-faults
test-faults: setup ## each service dies, files, labels and models go wrong, and the machine is reset, in parts of ten minutes at most (PART=day for one; day, fleet, resets, servers, services, stopped, told, containers; RESETS=50 for more resets)
	@failed=; $(foreach part,$(if $(PART),$(PART),$(FAULTS)),printf '\033[1m==> Tests of faults: $(part)\033[0m\n'; \
	$(BIN)/python -m pytest -m long -s --durations=0 --durations-min=1 $(call FAULTS_FILES,$(part)) || failed="$$failed $(part)"; )\
	[ -z "$$failed" ] || { echo "These parts failed:$$failed"; exit 1; }

.PHONY: fuzz
fuzz: setup ## the random tests at length: the monitor's engine against Evidently's own, the log under kills, changes of the model under kills, the API under schemathesis (hours; CASES=1000 for fewer)
	@FUZZ_CASES=$(or $(CASES),100000) $(BIN)/python -m pytest -n auto tests/unit/test_profile_engine.py tests/unit/test_window.py tests/unit/test_prediction_log_model.py tests/unit/test_change_over.py tests/unit/test_abuse_spec.py

.PHONY: bench
bench: setup ## every benchmark of docs/performance.md, one after the other, into .local/bench.md (ONLY=scale for one)
	@mkdir -p .local && { echo "On $$(nproc) cores, $$(awk '/MemTotal/ {printf "%.0f GB", $$2 / 1e6}' /proc/meminfo), $$(date -u +%F)."; \
	for script in $$(grep -l '^if __name__' benchmarks/$(or $(ONLY),*).py); do \
		printf '\n## %s\n\n' "$$(basename "$$script")"; $(BIN)/python -m "benchmarks.$$(basename "$$script" .py)"; \
	done; } | tee .local/bench.md

.PHONY: bench-alarms
bench-alarms: setup ## measure the drift alarms beside other methods, and write docs/alarms.md (20 minutes; ARGS="--source resampled" for real tracks, ARGS="--part traffic" for real traffic)
	@OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.alarms $(ARGS)

.PHONY: bench-loop
bench-loop: setup ## replay the whole loop over eight weeks of real flights, and write docs/alarms.md (half an hour; ARGS="--fault km@2013-10-20 --json loop.json")
	@OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.loop $(ARGS)

.PHONY: check
check: setup ## style, types, rules and configurations
	$(say) "ruff and mypy"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	$(say) "promtool and amtool"
	@$(BIN)/python -m scripts.check_configs

.PHONY: owners
owners: setup ## route each model's alerts to its owner (`owner` in its config), in alertmanager/alertmanager.yml
	@$(BIN)/python -m scripts.owners

.PHONY: audit
audit: $(VENV)/.ready ## known vulnerabilities of what is locked, as PyPI's advisories have them (ARGS="--vulnerability-service osv")
	@$(BIN)/python -m scripts.supply_chain audit $(ARGS)

.PHONY: licences
licences: $(VENV)/.ready ## judge the licences of what is locked, and write docs/licences.md
	@$(BIN)/python -m scripts.licences

.PHONY: sbom
sbom: $(VENV)/.ready ## list what is locked, with hashes, as CycloneDX in .local/sbom.json
	@$(BIN)/python -m scripts.supply_chain sbom

.PHONY: rollback
rollback: $(VENV)/.ready ## go back to the model that served before, and to its reference, in the stack that runs
	@scripts/rollback $(BIN)/python

.PHONY: up
up: ## the stack in containers: builds, starts, waits until it is healthy (ARGS="--scale api=3")
	@scripts/up $(ARGS)

.PHONY: down
down: ## stop the containers and keep the data
	@docker compose --profile demo down --remove-orphans

.PHONY: backup
backup: ## back the containers' data up into backups/<time>, or into the folder TO
	@scripts/backup $(TO)

.PHONY: restore
restore: ## restore the backup FROM onto empty volumes
	@scripts/restore $(FROM)

.PHONY: purge
purge: ## delete the containers and all of their data; asks first
	@scripts/purge

.PHONY: test-containers
test-containers: setup ## the tests of the stack in containers alone; they need a Docker engine and the default ports
	$(say) "Tests in containers"
	@$(BIN)/python -m pytest tests/containers

.PHONY: dashboards
dashboards: setup ## write grafana/dashboards/*.json from scripts/dashboards
	@$(BIN)/python -m scripts.dashboards

.PHONY: mixin
mixin: setup ## write rules and dashboards as a bundle for a Prometheus and a Grafana that you have, into .local/mixin (TO=folder)
	@$(BIN)/python -m scripts.mixin $(TO)

.PHONY: chart
chart: setup ## write what the Helm chart holds of rules, dashboards and configurations, into deploy/helm/driftloop/files
	@$(BIN)/python -m scripts.chart

.PHONY: dashboards-preview
dashboards-preview: setup ## draw the dashboards without Grafana, as pages in .local/dashboards (PROMETHEUS_URL, ARGS="--since 30m")
	@$(BIN)/python -m scripts.preview $(ARGS)

.PHONY: pictures
pictures: setup ## draw README's pictures into docs/images from a demo run (5 minutes; needs chromium and the default ports; ARGS="--example flights --to FOLDER")
	$(say) "The pictures"
	@$(BIN)/python -m scripts.pictures $(ARGS)

.PHONY: format
format: $(VENV)/.ready ## let ruff write the code's form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: clean
clean: ## remove what set-up and local runs have made, except data/
	rm -rf .venv .local .mypy_cache .ruff_cache .pytest_cache .hypothesis
