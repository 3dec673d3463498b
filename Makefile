# Two commands from a fresh clone:
#   make quick   install, train the quick sweep, fit, forecast, report
#   make test    install, run the default test suite
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
STAMP = $(VENV)/.installed
HOW = "the command is $(RUN)/slaw; after  . $(RUN)/activate  it is slaw"

.PHONY: quick test slow lint install docs dist clean

install: $(STAMP)
	@echo $(HOW)

$(STAMP): pyproject.toml constraints.txt tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

quick: $(STAMP)
	$(RUN)/slaw run --mode quick
	$(RUN)/slaw fit results/quick
	$(RUN)/slaw extrapolate --params 175e9 --results results/quick
	$(RUN)/slaw report results/quick
	@echo $(HOW)

test: $(STAMP)
	$(RUN)/python -m pytest -n auto --dist worksteal

slow: $(STAMP)
	$(RUN)/python -m pytest -m slow -n auto --dist worksteal

lint: $(STAMP)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

docs: $(STAMP)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(RUN)/python -m mkdocs build --clean

dist: $(STAMP)
	rm -rf dist
	$(RUN)/python -m build --outdir dist .

clean:
	rm -rf $(VENV) dist
