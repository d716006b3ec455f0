# make run, make test and make lab each do their whole set-up; they need Python 3.11-3.13 and nothing else.
SHELL := /bin/sh
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
NOTEBOOKS := Inverting_convnet_representations Class_score_and_Saliency_Map_Visualization

# TensorFlow's start-up notes help nobody here; the kernel must be this environment's own, not a user's
export TF_CPP_MIN_LOG_LEVEL := 3
export TF_ENABLE_ONEDNN_OPTS := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export JUPYTER_PREFER_ENV_PATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run test slow lab clean
.DEFAULT_GOAL := help

help:
	@echo "make run    execute both notebooks into runs/"
	@echo "make test   everything that CI runs"
	@echo "make lab    open the notebooks in JupyterLab"
	@echo "make slow   the slow tests (minutes each)"
	@echo "make clean  remove .venv and runs"

$(READY): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 was found: install one, or name it with make PYTHON=/path/to/python."; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version): about 2 GB, a few minutes, once."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet -r requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

run: $(READY) $(addprefix run-,$(NOTEBOOKS))
	@echo "Done. Pictures, numbers (summary.json) and readable copies (.html) are in:"
	@for n in $(NOTEBOOKS); do echo "  runs/$$n/"; done

run-%: $(READY)
	@mkdir -p runs/$*
	@echo "Running notebooks/$*.ipynb (some minutes) …"
	@$(BIN)/python -m papermill --log-output --no-progress-bar --log-level WARNING -k python3 \
		-p out runs/$* notebooks/$*.ipynb runs/$*/$*.ipynb
	@$(BIN)/python -m nbconvert --log-level ERROR --to html runs/$*/$*.ipynb

test: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest --durations=8

slow: $(READY)
	@$(BIN)/python -m pytest -m slow --durations=8

lab: $(READY)
	@$(BIN)/jupyter lab --notebook-dir=notebooks

clean:
	rm -rf .venv runs
