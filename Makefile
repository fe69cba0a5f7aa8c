# Every target makes what it needs; `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KERNEL := $(wildcard csrc/*)

# A kernel that does not compile is an error here; users without a compiler get the NumPy fallback.
export MINISBERT_REQUIRE_KERNEL := 1

.DEFAULT_GOAL := help
.PHONY: help demo exercise test test-fast check check-dist test-c test-parity soak bench-peers bench bench-costs bench-compare bench-search bench-train figures size clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.py pyproject.toml $(KERNEL) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## search the standard library by meaning; QUERY="..." asks another question
	@$(BIN)/python -m minisbert demo $(if $(QUERY),"$(QUERY)")

exercise: $(VENV)/.installed ## check your answer to exercise N: make exercise N=1 (tests/exercises/README.md)
	@$(BIN)/python tests/exercises $(N)

# Both targets run two processes. Here all tests of a file run in one, since some fixtures take seconds.
test: $(VENV)/.installed-dev ## all fast and real tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: $(VENV)/.installed-dev ## unit tests, in 25 seconds: no real weights, nothing slow
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

check: $(VENV)/.installed-dev ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Built from a copy of the sources, since setuptools would add files that an older build has listed.
DIST := build/dist

check-dist: $(VENV)/.installed-dev ## build the source distribution and the wheel, install and use each
	rm -rf $(DIST)
	mkdir -p $(DIST)/source
	tar -c --exclude='./.*' --exclude=./build --exclude='*.egg-info' --exclude='*.so' . | tar -x -C $(DIST)/source
	$(BIN)/python -m build --sdist --wheel --outdir $(DIST) $(DIST)/source
	@set -e; for made in $(DIST)/minisbert-*.tar.gz $(DIST)/minisbert-*.whl; do \
		$(PYTHON) -m venv --clear $(DIST)/venv; \
		$(DIST)/venv/bin/python -m pip install --quiet --disable-pip-version-check $$made; \
		$(DIST)/venv/bin/python -I tests/check_install.py; \
	done
	@echo "a failed compilation, where build/ holds an older kernel"
	ls $(DIST)/source/build/lib*/minisbert/_topk*
	CC=/bin/false MINISBERT_REQUIRE_KERNEL=0 $(BIN)/python -m build --wheel --outdir $(DIST)/failed $(DIST)/source
	$(BIN)/python -m zipfile --list $(DIST)/failed/minisbert-*.whl > $(DIST)/failed/names
	! grep _topk $(DIST)/failed/names

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
STRICT := -std=c11 -O2 -g -ffp-contract=off -Wall -Wextra -Wpedantic -Werror
CROSS := aarch64-linux-gnu-gcc
QEMU := qemu-aarch64

C_TESTS := topk_test topk_int8_test hamming_test

test-c: ## the kernels under sanitizers, and NEON under emulation
	@mkdir -p build
	@set -e; for test in $(C_TESTS); do \
		echo "$$test, under sanitizers"; \
		$(CC) $(STRICT) $(SANITIZE) tests/$$test.c $(wildcard csrc/*.c) -lm \
			-o build/$$test; \
		build/$$test; \
	done
ifeq ($(and $(shell command -v $(CROSS)),$(shell command -v $(QEMU))),)
	@echo "NEON was NOT tested: it takes $(CROSS) and $(QEMU) (Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)"
	@test -z "$(CI)"
else
	@set -e; for test in $(C_TESTS); do \
		$(CROSS) $(STRICT) -static tests/$$test.c $(wildcard csrc/*.c) -lm -o build/$${test}_neon; \
		for processor in max cortex-a53; do \
			echo "$$test on $$processor"; $(QEMU) -cpu $$processor build/$${test}_neon; \
		done; \
	done
endif

PEERS := .venv-peers

$(PEERS)/.installed: setup.py pyproject.toml $(KERNEL)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[peers]'
	@touch $@

bench-peers: $(PEERS)/.installed ## install what the benchmarks compare with: torch, onnxruntime, FAISS

test-parity: $(PEERS)/.installed ## against torch, transformers and sentence-transformers, live
	HF_HUB_OFFLINE=1 $(PEERS)/bin/python -m pytest -W default tests/parity

soak: $(VENV)/.installed-dev ## long runs: random cases for the scan of codes, kills and resumes
	@mkdir -p build
	$(CC) $(STRICT) $(SANITIZE) tests/topk_int8_test.c $(wildcard csrc/*.c) -lm -o build/topk_int8_test
	build/topk_int8_test 50000
	$(BIN)/python -m pytest tests/soak -s

bench: $(VENV)/.installed-dev ## time encode, pairs and scan; the table goes to build/bench.txt
	@mkdir -p build
	$(BIN)/python -m pytest -o addopts= -o python_files='bench_*.py' --benchmark-columns=min,median,iqr,rounds \
		--benchmark-group-by=func benchmarks > build/bench.txt; \
		status=$$?; cat build/bench.txt; exit $$status

bench-costs: $(VENV)/.installed ## what bi- and cross-encoders cost here, with a picture: 2 minutes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[plots]'
	$(BIN)/python -m minisbert bench --out build/costs

bench-compare: $(PEERS)/.installed ## beside the peers, one script after another: about 20 minutes
	$(PEERS)/bin/python benchmarks/compare_encode.py
	$(PEERS)/bin/python benchmarks/compare_pairs.py
	$(PEERS)/bin/python benchmarks/compare_startup.py

bench-search: $(PEERS)/.installed ## search beside the peers, and ten million rows: an hour, 25 GB of disk
	$(PEERS)/bin/python benchmarks/compare_search.py
	$(PEERS)/bin/python benchmarks/compare_search.py --codes none --queries 1
	$(PEERS)/bin/python benchmarks/measure_scale.py

bench-train: $(PEERS)/.installed ## fine-tuning beside torch: the time of steps, the quality of models: hours
	for task in speed sts pairs nli-pairs softmax ranking triplet; do \
		$(PEERS)/bin/python benchmarks/compare_train.py $$task || exit 1; done

figures: $(VENV)/.installed-dev ## draw the pictures of the chapters
	$(BIN)/python benchmarks/draw_figures.py
	$(BIN)/python -m minisbert explain "A man is eating a bowl of pasta." \
		"Someone has spaghetti for dinner." --out benchmarks/figures/explain.png > /dev/null

size: $(VENV)/.installed ## lines of the core and of the rest
	@$(BIN)/python tests/count_lines.py

clean: ## remove everything that was made here
	rm -rf $(VENV) $(PEERS) build dist *.egg-info minisbert/_topk*.so csrc/__pycache__
