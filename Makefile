# Everyday tasks. What takes more than a line or two stands in scripts/.

cargo = cargo --locked
# Where `make setup` was told to leave libtorch out, cargo is told so too.
features = $(shell [ -z "$$LIBTORCH" ] && grep -qsx none .deps/libtorch/kind && echo --no-default-features)

.DEFAULT_GOAL := help
# The order in which a target names what it needs is the order in which it has to happen; cargo is parallel itself.
.NOTPARALLEL:
.PHONY: help setup setup-build setup-run setup-test build demo demo-style demo-detect test checks bench fuzz lint clean-out

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | \
	  while IFS='|' read -r target says; do printf '  make %-12s %s\n' "$$target" "$$says"; done

setup: ## what building and the demo need, and the sample models (4 GB); TORCH=cuda or TORCH=none for another libtorch
	@scripts/setup run models

setup-build:
	@scripts/setup build

setup-run:
	@scripts/setup run

setup-test:
	@scripts/setup test

build: setup-build ## the programs, into target/release
	cargo build --release --bins $(features)

demo: setup-run build ## stream a video through the server and show what comes back, in out/
	@scripts/demo

demo-style: setup-run build ## the same, painted by a model in the style of Hokusai's Great Wave
	@scripts/demo style

demo-detect: setup build ## faces are found, followed and drawn, and written as JSON Lines
	@scripts/demo detect

test: setup-test checks ## everything that a change has to pass
	$(cargo) test $(features)

# The second clippy sees the programs as those get them who have no libtorch. The documentation is checked as
# developers read it, with private items; that of the programs is the text of their --help, and no Markdown.
checks:
	cargo fmt --check
	$(cargo) clippy --all-targets $(features) -- -D warnings
	$(cargo) clippy --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' $(cargo) doc --no-deps --lib --document-private-items $(features)

bench: ## the benchmarks; BENCH='limit peer --seconds 3' for some of them, BENCH='--write BENCHMARKS.md' to keep the result
	@scripts/setup bench
	$(cargo) bench $(features) -- $(BENCH)

fuzz: setup-build ## each fuzz target for a minute; FUZZ_SECONDS=600 for longer
	@scripts/fuzz

lint: setup-build checks ## format, clippy, documentation, licences of the dependencies
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check licenses bans sources; \
	else echo 'The licences were not checked. For that: cargo install cargo-deny --locked'; fi

clean-out: ## remove what the demo and the benchmarks wrote
	rm -rf out
