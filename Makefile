# `make bench` and `make test` each do all of their own set-up in .venv; nothing else is needed than Python >= 3.11.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHOWN  := activation_patching edge_patching path_patching eap eap_ig atp_star hisp acdc information_flow_routes \
          direct_logit_attribution random oracle prior weights
READY  := $(VENV)/.ready

.PHONY: bench test test-all test-rotating fuzz check docs clean

bench: $(READY)          ## run the quick suite, print the leaderboard and where the page is
	$(BIN)/gaugeblock run --suite quick $(addprefix --method ,$(SHOWN)) --out results/quick

test: $(READY)           ## the default test suite
	$(BIN)/python -m pytest -n auto -m "not slow and not gpu"

test-all: $(READY)       ## everything, the long tests too
	$(BIN)/python -m pytest -n auto -m "not gpu"

test-rotating: $(READY)  ## a quarter of the long tests, another one each day
	$(BIN)/python -m pytest -n auto -m "slow and not gpu" --rotate || [ $$? -eq 5 ]

fuzz: $(READY)           ## a few hundred random programs, others each day
	$(BIN)/gaugeblock fuzz --n 300 --seed $$(date +%Y%m%d) --workers 2

check: $(READY)          ## lint, documents, types; the link tree shows mypy the package as it is imported
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python docs/scripts/check.py
	rm -rf build/types && mkdir -p build/types/gaugeblock
	ln -s $(CURDIR)/bench/* $(foreach part,programs compiled methods metrics,$(CURDIR)/$(part)) build/types/gaugeblock/
	cd build/types && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml -p gaugeblock

docs: $(READY)           ## what the documents say: examples, links, pages, docstrings; the long ones too
	$(BIN)/python docs/scripts/check.py
	$(BIN)/python -m pytest -n auto tests/test_docs.py tests/test_doctests.py tests/test_examples.py tests/test_contributing.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'gaugeblock needs Python >= 3.11, this is ' + sys.version.split()[0])"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) build results *.egg-info
