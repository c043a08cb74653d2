# Every target does its own set-up and can be repeated. The work is in tools/, one script a job.
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests build install demo demo-stop clean test test-all test-pure test-instructions \
        test-pg test-regress test-isolation test-integration test-docs lint pgspot coverage bench bench-quick

# The Postgres version of the single test tiers: make test-regress PG=17. FILTER picks tests by name.
PG ?= 15
FILTER ?=

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-18s %s\n", $$1, $$2}'

demo: ## install what is missing, build, and show the main job on real purchases
	@tools/demo.sh
demo-stop: ## stop the demo's server and its webhook receiver
	@tools/demo-stop.sh
install: ## build and install into an existing server: make install PG_CONFIG=/path/to/pg_config
	@tools/install.sh "$(PG_CONFIG)"
test: ## every test tier on Postgres 15; install, goldens and smoke tests on 16, 17 and 18
	@tools/test.sh
test-all: ## every test tier on every version
	@tools/test.sh --all
coverage: ## line coverage over all test tiers
	@tools/coverage.sh
bench: ## measure everything beside its peers (three quarters of an hour): bench/README.md
	@tools/bench.sh
bench-quick: ## ... a small cut of every series (less than 5 minutes)
	@tools/bench.sh --quick
clean: ## stop and remove everything that these commands made
	@tools/clean.sh

setup: ## install what building needs
	@tools/setup.sh
setup-tests: ## ... and what testing needs
	@tools/setup.sh tests
build: ## build for the private Postgres of the tests: make build PG=16
	@tools/setup.sh >/dev/null && tools/fetch-postgres.sh $(PG) && tools/build.sh $(PG)

test-pure: ## one tier: the crates that need no Postgres
	@tools/tier.sh pure $(PG) $(FILTER)
test-instructions: ## one tier: what the crates' hot paths cost in instructions, against budgets
	@tools/tier.sh instructions $(PG) $(FILTER)
test-pg: ## one tier: #[pg_test] functions inside a server
	@tools/tier.sh pg $(PG) $(FILTER)
test-regress: ## one tier: SQL files with expected output (UPDATE=1 accepts)
	@tools/tier.sh regress $(PG) $(FILTER)
test-isolation: ## one tier: concurrent sessions in a fixed order (UPDATE=1 accepts)
	@tools/tier.sh isolation $(PG) $(FILTER)
test-integration: ## one tier: real clusters, real clients, real HTTP servers
	@tools/tier.sh integration $(PG) $(FILTER)
test-docs: ## one tier: the SQL of README and docs (UPDATE_DOCS=1 writes the output)
	@tools/tier.sh docs $(PG) $(FILTER)
lint: ## formatting, clippy, where unsafe may be
	@tools/tier.sh lint $(PG)
pgspot: ## the SQL security linter over the install and upgrade scripts
	@tools/tier.sh pgspot $(PG)
