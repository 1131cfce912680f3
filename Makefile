# Each target sets up .venv by itself on first use; after that plain snakemake works as well.
CORES ?= 2
PYTHON ?= python3
TARGET ?= results/demo/all
PAPER ?=
FIRST := results/demo/figures/three-regimes/fig1.pdf
BUILD = snakemake --cores $(CORES) --logger refigure --config scale=demo
PAPERS = python -c "from pathlib import Path; from refigure.graph.config import Config; \
  from refigure.graph.lookups import Graph; print(*Graph(Config(Path()), 'demo').built)"
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export PATH := $(CURDIR)/$(BIN):$(PATH)
export OMP_NUM_THREADS := 1

.PHONY: demo smoke plan test lint docs setup clean

demo: $(READY)          ## every paper at demo scale, or one: make demo PAPER=three-regimes
	@$(if $(PAPER),,$(BUILD) -- $(FIRST) && echo "The first figure: $(CURDIR)/$(FIRST)")
	@set -e; papers="$(or $(PAPER),$$($(PAPERS)))"; for paper in $$papers; do \
	  $(BUILD) -- $$paper; \
	  refigure report --scale demo --so-far; \
	  echo "$$paper is built; the report so far: $(CURDIR)/results/demo/report.html"; \
	done
	@# Snakemake knows nothing of the report so far: it writes the last one itself.
	$(if $(PAPER),,rm -f results/demo/report.html && $(BUILD))
	@$(if $(PAPER),,refigure show --scale demo)

smoke: $(READY)         ## everything runs: two epochs of each network
	snakemake --cores $(CORES) --logger refigure --config scale=smoke
	@refigure show --scale smoke

plan: $(READY)          ## what TARGET would run, for how long: make plan TARGET=results/paper/all
	@refigure plan $(TARGET)

test: $(READY)          ## the tests, CORES at a time
	pytest -n $(CORES) --dist loadgroup --no-loadscope-reorder

lint: $(READY)          ## format and lint, changing nothing
	ruff format --check .
	ruff check .
	snakefmt --check -l 100 Snakefile rules
	snakemake --lint

docs: $(READY)          ## the site of the documentation, under site/, with the demo's figures that are there
	python docs/build_site.py

setup: $(READY)         ## install into .venv

$(READY): envs/requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

clean:                  ## remove the results of the smoke scale (others: by hand)
	rm -rf results/smoke scratch/smoke
