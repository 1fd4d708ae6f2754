# The commands of Leasehold. `make help` lists them; CONTRIBUTING.md says when to use which.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
ENV := source .ci/env
SEED ?= 1

.PHONY: help prerequisites build release demo test check fix deny bench bench-plan chaos gate mutants lab test-lab conformance kill env

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

prerequisites: ## install what the build needs, compile RocksDB once
	@.ci/prerequisites
	@.ci/rocksdb-archive

build: prerequisites ## build the binaries (target directory: make env)
	@$(ENV); cargo build --locked -p leasehold-node -p leasehold-tests -p leasehold-cloudsim --bins

release: prerequisites ## build the product binary with optimisation
	@$(ENV); cargo build --locked --release -p leasehold-node
	@$(ENV); echo "built $$CARGO_TARGET_DIR/release/leasehold"

demo: build ## three nodes, a simulated cloud, leader kills; SEED=n REPORT=f.json KEEP=1
	@$(ENV); "$$CARGO_TARGET_DIR"/debug/leasehold-demo --seed $(SEED) $(if $(REPORT),--report $(REPORT)) $(if $(KEEP),--keep)

test: build ## every test that needs no root and no second machine
	@$(ENV); cargo test --locked --workspace --exclude leasehold-chaos
	@$(ENV); cargo test --locked -p leasehold-chaos

check: prerequisites ## formatting, lints, documentation; changes nothing
	@$(ENV); cargo fmt --all --check
	@$(ENV); cargo clippy --locked --workspace --all-targets -- -D warnings
	@$(ENV); RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

fix: prerequisites ## format, and apply what the lints suggest
	@$(ENV); cargo fmt --all
	@$(ENV); cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

deny: ## licences, banned crates, sources of dependencies (installs cargo-deny when missing)
	@command -v cargo-deny >/dev/null || { echo "deny: installing cargo-deny"; cargo install --locked cargo-deny; }
	@cargo deny --locked check bans licenses sources

bench: prerequisites ## benchmarks beside etcd; ARGS="--quick", results in bench-results.json
	@.ci/prerequisites etcd-server etcd-client
	@$(ENV); cargo build --locked --release -p leasehold-node -p leasehold-tests -p leasehold-cloudsim --bins
	@$(ENV); "$$CARGO_TARGET_DIR"/release/leasehold-bench $(ARGS)

bench-plan: ## planning in a cloud of many hosts and leases; REPORT=f.json HOSTS=n LEASES=n SAMPLES=n SEED=n
	@$(ENV); cargo build --locked --release -p leasehold-ledger --example bench_plan
	@$(ENV); "$$CARGO_TARGET_DIR"/release/examples/bench_plan --seed $(SEED) $(if $(REPORT),--report $(REPORT)) \
	  $(if $(HOSTS),--hosts $(HOSTS)) $(if $(LEASES),--leases $(LEASES)) $(if $(SAMPLES),--samples $(SAMPLES))

kill: build ## kill -9 a random node for four minutes under load; SEED=n
	@$(ENV); "$$CARGO_TARGET_DIR"/debug/leasehold-kill --seed $(SEED)

chaos: prerequisites ## simulated clusters under faults, a seed each; SEEDS=A..B SECONDS=n
	@$(ENV); cargo run --locked -p leasehold-chaos -- run sim --seeds $(or $(SEEDS),1..31) --seconds $(or $(SECONDS),120) --jobs 2

gate: prerequisites ## simulated clusters for an hour each, some with meddlers, some over the wire, then planted bugs; SEEDS=A..B
	@$(ENV); cargo build --locked --release -p leasehold-chaos
	@$(ENV); "$$CARGO_TARGET_DIR"/release/leasehold-chaos run sim --seeds $(or $(SEEDS),1000..1200) --seconds 3600 --jobs 2 --level message --profile mixed
	@$(ENV); "$$CARGO_TARGET_DIR"/release/leasehold-chaos run sim --seeds 4000..4020 --seconds 900 --jobs 2 --level message --profile others
	@$(ENV); "$$CARGO_TARGET_DIR"/release/leasehold-chaos run sim --seeds 2000..2010 --seconds 300 --jobs 2 --level wire
	@$(ENV); "$$CARGO_TARGET_DIR"/release/leasehold-chaos run sim --seeds 1000..1002 --seconds 3600 --jobs 2 --level message --profile mixed --twice
	@$(ENV); "$$CARGO_TARGET_DIR"/release/leasehold-chaos mutants

mutants: prerequisites ## every planted bug must be found by its checker; ONLY=M11,M12
	@$(ENV); cargo run --locked --release -p leasehold-chaos -- mutants $(if $(ONLY),--only $(ONLY))

lab: ## start a real OpenStack on loopback (Debian 12, root)
	@tests/openstack/openstack-lab up

test-lab: build ## the promise against real Nova and Placement (OS_* or the lab)
	@$(ENV); tests/openstack/test-lab

conformance: build ## the simulated cloud against the kept answers of the real one
	@$(ENV); tests/openstack/conformance --with "$$CARGO_TARGET_DIR"/debug/leasehold-cloudsim

env: ## print the variables cargo needs: eval "$$(make env)"
	@$(ENV); echo "export CARGO_TARGET_DIR=$$CARGO_TARGET_DIR ROCKSDB_LIB_DIR=$$ROCKSDB_LIB_DIR ROCKSDB_STATIC=1"
