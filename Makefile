# make run, make test, make lab and make app each do their whole set-up; they need Python 3.11-3.13 and nothing else.
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
# what other software set for its own Python would mix its packages in here
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX

.PHONY: help run test slow lab app clean
# two notebooks at once would only compete for the same cores and memory
.NOTPARALLEL:
.DEFAULT_GOAL := help

help:
	@echo "make run    execute both notebooks into runs/"
	@echo "make test   what CI runs first"
	@echo "make lab    open the notebooks in JupyterLab"
	@echo "make app    open the panels as a page without code, on this machine only"
	@echo "make slow   the slow tests (minutes each)"
	@echo "make clean  remove .venv and runs"

# ipython_kernel_config: what a kernel says of its sockets and of its own end is no news to a user
$(READY): requirements.txt pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
		{ echo "No Python 3.11, 3.12 or 3.13 was found: install one, or name it with make PYTHON=/path/to/python."; exit 1; }
	@echo "Setting up .venv with $$("$(PYTHON)" --version): about 3 GB, a few minutes, once."
	@"$(PYTHON)" -m venv .venv || \
		{ echo "No virtual environment could be made: on Debian and Ubuntu, install python3-venv and try again."; exit 1; }
	@$(BIN)/python -m pip install --quiet -r requirements.txt && \
		$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . || \
		{ echo "The packages could not be installed: this first step needs a network and 3 GB of disk; then try again."; exit 1; }
	@mkdir -p .venv/etc/ipython && echo 'c.IPKernelApp.log_level = "CRITICAL"' > .venv/etc/ipython/ipython_kernel_config.py
	@touch $@

run: $(READY) $(addprefix run-,$(NOTEBOOKS))
	@echo "Done. Pictures, numbers (summary.json) and readable copies (.html) are in:"
	@for n in $(NOTEBOOKS); do echo "  runs/$$n/"; done

run-%: $(READY)
	@mkdir -p runs/$*
	@echo "Running notebooks/$*.ipynb (some minutes) …"
	@$(BIN)/python -m papermill --no-progress-bar --log-level ERROR --stdout-file - -k python3 \
		-p out runs/$* notebooks/$*.ipynb runs/$*/$*.ipynb
	@$(BIN)/python -m nbconvert --log-level ERROR --to html runs/$*/$*.ipynb

test: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest --durations=8
	@echo "Now both notebooks at their defaults and the solved exercises, outputs compared with the stored ones (some minutes) …"
	@$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=900 -p no:cacheprovider \
		--ignore=notebooks/exercises notebooks

slow: $(READY)
	@$(BIN)/python -m pytest -m slow --durations=8

# uploads over 10 MB have to arrive before a panel can refuse them
LARGE := tornado_settings="{'websocket_max_message_size': 200000000}"
lab: $(READY)
	@$(BIN)/jupyter lab --notebook-dir=notebooks --ServerApp.$(LARGE)

app: $(READY)
	@$(BIN)/python -m voila notebooks/Panels.ipynb --token --Voila.ip=127.0.0.1 --Voila.$(LARGE) --strip_sources=True --show_tracebacks=False

clean:
	rm -rf .venv runs
