# The commands a user and CI need. Each does all that it depends on.
SHELL := /bin/bash
SWIFT ?= swift
CONFIGURATION ?= release
BIN := .build/$(CONFIGURATION)
MODEL := Tests/Fixtures/tiny
TEXT := formats/quantization.md
DEMO := demo-output
VENV := .venv

.PHONY: demo test interop large bench fuzz build setup lint clean

# Convert the bundled model to FP8, prove it against its base, show the verdict and where the report is.
demo: build
	@rm -rf $(DEMO) && mkdir -p $(DEMO)
	$(BIN)/llama-convert --to fp8 $(MODEL) $(DEMO)/tiny-fp8
	$(BIN)/llama-verify $(MODEL) $(DEMO)/tiny-fp8 --text $(TEXT) --policy fp8 --report $(DEMO)/report
	@echo "The report is in $(DEMO)/report/report.html"

# Every test, in release: numeric code is 20 to 180 times slower without optimization. The product is what --build-tests
# builds, without the tools of plugins that nobody uses here: swift-protobuf's are a whole protoc, 600 files of C++.
test: setup lint
	$(SWIFT) build -c $(CONFIGURATION) --product swift-llama-convertPackageTests
	$(SWIFT) test -c $(CONFIGURATION) --skip-build --parallel

# The same files in the hands of the real libraries (from PyPI) on the CPU.
interop: build
	Scripts/python-environment.sh $(VENV)
	$(VENV)/bin/python -m pytest -q Tests/Interop

# Llama 3.1 405B's shapes in sparse files: needs 40 GB of disk for a few minutes.
large: build
	Scripts/python-environment.sh $(VENV)
	LLAMA_LARGE=$${LLAMA_LARGE:-.} $(VENV)/bin/python -m pytest -q Tests/Interop/test_large.py

# Times on a model of real shape that it makes, against cp and, where they are installed, llama.cpp, PyTorch, tiktoken and
# tokenizers, side by side as ratios. BENCH_SHAPE and others choose; `python3 Benchmarks/run.py --help` lists them.
bench: build
	python3 Benchmarks/run.py $(BIN)

# Coverage-guided fuzzing of every reader, FUZZ_SECONDS of processor time each (a minute by default); FUZZ_TARGETS chooses.
# The corpus stays in .build-fuzz/corpus, where the next run goes on.
fuzz: setup
	LLAMA_FUZZ=1 $(SWIFT) build -c release --sanitize=fuzzer --sanitize=address --scratch-path .build-fuzz --product LlamaFuzz
	python3 Tests/Fuzz/run.py .build-fuzz/release/LlamaFuzz --seconds $${FUZZ_SECONDS:-60} $(FUZZ_TARGETS)

build: setup
	$(SWIFT) build -c $(CONFIGURATION) --product llama-convert
	$(SWIFT) build -c $(CONFIGURATION) --product llama-verify

setup:
	@Scripts/setup.sh

lint:
	swift-format lint --strict --parallel --recursive Package.swift Sources Tests

clean:
	rm -rf .build $(DEMO)
