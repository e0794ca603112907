# Targets for people and for CI. Cargo does the work; this only knows what belongs together.
# One crate: make test CRATE=nimbus-core

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Where rustup puts cargo, for shells that were open before it was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin
CARGO ?= cargo
PACKAGES := $(if $(CRATE),--package $(CRATE),--workspace)
ROUNDS ?= 50
SEEDS ?= 1000
FIRST ?= 1
MINUTES ?= 30
VENV := target/python
PYTHON_PACKAGES := grpcio grpcio-tools
SERVICES := $(or $(CARGO_TARGET_DIR),target)/debug/nimbus-services
SIMULATION := $(or $(CARGO_TARGET_DIR),target)/simulate/nimbus-simulation
NIMBUS := $(or $(CARGO_TARGET_DIR),target)/debug/nimbus
# Without Kafka and Redis: no C library is built, and the first run is quick.
EMBEDDED := --no-default-features

help: ## This list
	@awk -F '## ' '/^[a-z-]+:.*## / { split($$1, target, ":"); printf "  %-16s %s\n", target[1], $$2 }' $(MAKEFILE_LIST)

demo: tools ## Shows it: squares arrive, client and server are killed in mid-run, nothing is lost or repeated
	$(CARGO) build --package nimbus $(EMBEDDED)
	@$(NIMBUS) demo

run: tools ## Starts a server on this machine and leaves it running (quick build, data in ./data)
	$(CARGO) build --package nimbus $(EMBEDDED)
	@exec $(NIMBUS) dev

# Kafka and Redis on their usual ports, if both answer there; else both for this run only, on free ports.
run-distributed: libraries ## Shows two servers and two consumers over Kafka and Redis, under load until ctrl-c; ARGS="--seconds 20"
	$(CARGO) build --package nimbus-services
	$(CARGO) build --package nimbus
	@if $(SERVICES) status > /dev/null 2>&1; then \
		export NIMBUS_TEST_KAFKA=127.0.0.1:9092 NIMBUS_TEST_REDIS=127.0.0.1:6379; \
	fi; \
	exec $(SERVICES) run -- bash -c 'exec "$$0" demo distributed --kafka "$${NIMBUS_TEST_KAFKA:-}" --redis "$${NIMBUS_TEST_REDIS:-}" "$$@"' $(NIMBUS) $(ARGS)

kill-one: ## Kills one server and one consumers process of `make run-distributed`, with SIGKILL
	@$(NIMBUS) demo kill-one

services: tools ## Starts Kafka on 127.0.0.1:9092 and Redis on 127.0.0.1:6379: in containers if docker runs, else without
	@if docker info > /dev/null 2>&1 && docker compose version > /dev/null 2>&1; then \
		docker compose up --detach --wait; \
	else \
		$(CARGO) build --package nimbus-services && $(SERVICES) up; \
	fi

services-stop: ## Ends what `make services` started; Kafka's data stays
	@if docker info > /dev/null 2>&1 && docker compose version > /dev/null 2>&1; then docker compose down; fi
	@if [ -x $(SERVICES) ]; then $(SERVICES) down; fi

test: libraries fmt-check lint python ## Everything: format, lint, every test, those over Kafka and Redis with a broker of their own
	$(CARGO) build --package nimbus-services
	$(SERVICES) run -- $(CARGO) test $(PACKAGES)

crash-loop: libraries ## Kills a server ROUNDS times (50) under load, and keeps the books of its clients
	CRASH_ROUNDS=$(ROUNDS) $(CARGO) test --package nimbus-tests --test it -- --nocapture crash::

# A minute or two: `make test` checks the smaller bounds only.
model: tools ## Checks the model of claim, apply, notify, resume and release exhaustively, in its larger bounds too
	NIMBUS_MODEL=large $(CARGO) test --package nimbus-model -- --nocapture

# The crates that a simulated event passes through are optimised there: see [profile.simulate] in Cargo.toml.
simulate: tools ## Runs the simulation: SEEDS=1000 of them, or SEED=7 alone (TRACE=1 tells its steps); BUG=name plants one
	$(CARGO) build --quiet --profile simulate --package nimbus-simulation
	@$(SIMULATION) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST)) $(if $(BUG),--bug $(BUG)) $(if $(TRACE),--trace)

# In the release build, which is what one would run; a round of every fault takes some five minutes.
chaos: libraries ## Breaks a real installation under load for MINUTES (30), from a SEED (1), and verifies every answer; ARGS="--only kill-server"
	$(CARGO) build --release --package nimbus --package nimbus-chaos
	@exec $(or $(CARGO_TARGET_DIR),target)/release/nimbus chaos --minutes $(MINUTES) --seed $(or $(SEED),1) $(ARGS)

# In the release build, some twelve minutes for all of them on an otherwise idle machine.
scenarios: libraries ## Measures what clients feel of a rolling restart, a storm of reconnects, clients that behave badly; ARGS="storm --on embedded"
	$(CARGO) build --release --package nimbus --package nimbus-chaos
	@exec $(or $(CARGO_TARGET_DIR),target)/release/nimbus chaos scenarios $(ARGS)

lint: libraries ## Clippy with warnings as errors, and the lint over architecture, files and documents
	$(CARGO) clippy $(PACKAGES) --all-targets -- -D warnings
	$(CARGO) test --quiet --package nimbus-tests --test lint

fmt: tools ## Formats the code
	$(CARGO) fmt --all

fmt-check: tools
	$(CARGO) fmt --all -- --check

# It starts a Kafka and a Redis of its own; where they cannot be had, it leaves out the distributed part aloud.
bench: libraries ## Measures Nimbus against its baselines, in one run: embedded, and over Kafka and Redis
	$(CARGO) build --release --package nimbus --package nimbus-benches
	@$(or $(CARGO_TARGET_DIR),target)/release/nimbus-bench run --nimbus $(or $(CARGO_TARGET_DIR),target)/release/nimbus $(ARGS)

bench-hot: libraries ## Measures the pieces that every event goes through, one by one
	$(CARGO) bench --package nimbus-benches --bench hot

build: libraries ## Builds the release binary: target/release/nimbus
	$(CARGO) build --release --package nimbus

doc: libraries ## Builds the API documentation: target/doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(PACKAGES) --no-deps

clean: ## Removes what was built; ./data stays
	@if command -v $(CARGO) > /dev/null; then $(CARGO) clean; else rm -rf target; fi

# What a build needs, each missing thing in one line.
tools:
	@command -v $(CARGO) > /dev/null \
		|| { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 69; }
	@command -v cc > /dev/null \
		|| { echo "a C compiler is missing: install gcc (Debian, Ubuntu: apt-get install gcc libc6-dev)" >&2; exit 69; }

# What Kafka's client needs on top.
libraries: tools
	@command -v c++ > /dev/null && pkg-config --exists openssl zlib 2> /dev/null \
		|| { echo "what Kafka's client is built with is missing: a C++ compiler, or the headers of OpenSSL and zlib (Debian, Ubuntu: apt-get install g++ pkg-config libssl-dev zlib1g-dev)" >&2; exit 69; }

# For the test that speaks the original protocol with another language's gRPC.
python: $(VENV)/.installed

$(VENV)/.installed:
	@mkdir -p target
	@if ! command -v python3 > /dev/null; then \
		echo "python3 is missing: the test with Python's gRPC is skipped (Debian, Ubuntu: apt-get install python3 python3-venv)" >&2; \
		[ "$${CI:-}" != true ] || exit 69; \
	elif ! { rm -rf $(VENV) && python3 -m venv $(VENV) && $(VENV)/bin/pip install --quiet --disable-pip-version-check $(PYTHON_PACKAGES); }; then \
		echo "$(PYTHON_PACKAGES) could not be installed: the test with Python's gRPC is skipped (needs python3-venv and a package index)" >&2; \
		rm -rf $(VENV); \
		[ "$${CI:-}" != true ] || exit 69; \
	else \
		touch $@; \
	fi

.PHONY: help libraries demo run run-distributed kill-one services services-stop test crash-loop model simulate chaos scenarios lint fmt fmt-check bench bench-hot build doc clean tools python
