# Set-up and checks. Everything is written under .venv/ and build/, which git ignores.
#
#     make demo   install, export a bundle, segment a made-up clip, score the masks
#     make quick  the tests that export no bundle: a verdict in two minutes
#     make test   all tests
#     make mutations  10,000 damaged mask and annotation files, a minute
#     make fuzz   changed files and requests at every door, SECONDS=60 for each (docs/fuzzing.md)
#     make lint   ruff and mypy
#     make clean  remove the environment and build/
#
# PYTHON chooses the interpreter (3.10 or later), VENV where the environment goes.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := build/demo

# An odd 16k + 1 size for the graphs, and the even video size that the authors' rule maps to it.
DEMO_BUNDLE_SIZE := 241x433
DEMO_VIDEO_SIZE := 240x432

.DELETE_ON_ERROR:
.PHONY: demo quick test lint mutations fuzz clean help

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

# Stamps, so that a second run installs nothing unless a dependency changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@# setuptools' advice on editable installs is about folders that this project has on purpose.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[export,cpu,plot]'
	@touch $@

$(VENV)/.dev-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt --group dev
	@touch $@

demo: $(VENV)/.installed
	@mkdir -p $(DEMO)
	@rm -rf $(DEMO)/clip $(DEMO)/masks
	$(BIN)/mavos-export --variant tiny --size $(DEMO_BUNDLE_SIZE) --output $(DEMO)/bundle --overwrite
	$(BIN)/python examples/demo_clip.py --size $(DEMO_VIDEO_SIZE) --truth --output $(DEMO)/clip
	$(BIN)/mavos-run $(DEMO)/bundle $(DEMO)/clip/clip.mp4 --masks $(DEMO)/clip/masks \
		--output $(DEMO)/masks/clip --overlay $(DEMO)/overlay.mp4 --overwrite
	$(BIN)/mavos-eval $(DEMO)/clip --results $(DEMO)/masks --baseline first-mask
	@echo
	@echo 'Done. The results:'
	@echo '  $(DEMO)/bundle/        five ONNX graphs, manifest.json, parity.json'
	@echo '  $(DEMO)/clip/          the made-up video, its masks, the right answer'
	@echo '  $(DEMO)/masks/         a palette PNG for every frame, and tables and plots of J and F'
	@echo '  $(DEMO)/overlay.mp4    the video with the objects coloured'

# A file's tests stay in one process, and files in the order of tests/conftest.py.
PYTEST = $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

quick: $(VENV)/.dev-installed
	$(PYTEST) -m 'not (exports or network or server or ray or tensorrt or slow)'

test: $(VENV)/.dev-installed
	$(PYTEST)

SECONDS ?= 60
fuzz: $(VENV)/.dev-installed
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS)

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests benchmarks docs examples tools

mutations: $(VENV)/.dev-installed
	$(BIN)/python -m tests.mutations

clean:
	$(if $(strip $(VENV)),,$(error VENV is empty; give the folder of the environment))
	rm -rf "$(VENV)" build
