# Every target sets up what it needs: a virtual environment in .venv, pinned by constraints.txt.
.PHONY: install demo test test-slow check bench docs clean

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Every program of the two folders is a bench, run as scripts.quality.fitting.
BENCHES := $(subst /,.,$(basename $(filter-out %/__init__.py, \
	$(sort $(wildcard scripts/quality/*.py scripts/cost/*.py)))))
# Threads that wait for each other sleep instead of spinning: much faster where others use the cores.
export OMP_WAIT_POLICY ?= PASSIVE

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,report,cohort,ray,bids,dicom,video,bundle,onnx,docs]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -m scripts.demo

# a process for each core: the tests are many and small
test: $(INSTALLED)
	$(BIN)/pytest --numprocesses auto --dist worksteal

test-slow: $(INSTALLED)
	$(BIN)/pytest -m slow

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	for bench in $(BENCHES); do \
		$(BIN)/python -m $$bench || failed="$$failed $$bench"; done; \
	test -z "$$failed" || { echo "not measured:$$failed"; exit 1; }

docs: $(INSTALLED)
	$(BIN)/python -m scripts.reference
	$(BIN)/python -m scripts.figures
	$(BIN)/python -m scripts.concepts
	$(BIN)/python -m scripts.site

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
