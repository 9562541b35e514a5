# make demo, make test, make lint: each creates the virtual environment it needs, once.

# The Python an existing environment was made with, else python3.
PYTHON ?= $(or $(shell cat $(VENV)/.python 2>/dev/null),python3)
SOURCE ?= synthetic
OUTPUT ?= demo_output
# Which ROS 2 from PyPI: kilted or jazzy.
ROS_WHEELS ?= kilted
# How long a soak lasts, and where its results go.
MINUTES ?= 60
SOAK_OUTPUT ?= soak_output
# Where the bench's report goes, the official student's checkpoint or folder, and more arguments, such as --quick.
BENCH_OUTPUT ?= bench_output
OFFICIAL ?=
BENCH ?=
# Up to which case fuzzing goes, and where what was done is kept.
CASES ?= 10000000
FUZZ_OUTPUT ?= fuzz_output
# More arguments for pytest, such as: make test TESTS="-k pairing".
TESTS ?=

ifeq ($(ROS_WHEELS),kilted)
VENV := .venv
ROS := ros,interfaces
else ifeq ($(ROS_WHEELS),jazzy)
VENV := .venv-jazzy
ROS := ros-jazzy,interfaces-jazzy
else
$(error ROS_WHEELS is '$(ROS_WHEELS)'; it may be kilted or jazzy)
endif

BIN := $(VENV)/bin
# A new name, and so a new environment, when another Python is asked for.
MADE := $(VENV)/.made-with-$(subst /,-,$(PYTHON))
DEMO_EXTRAS := $(ROS),cpu,bags,report
TEST_EXTRAS := $(DEMO_EXTRAS),openvino,cluster,train,sam,evaluate,test
BENCH_EXTRAS := $(DEMO_EXTRAS),openvino,train
LINT_EXTRAS := $(DEMO_EXTRAS),lint
# One stamp for each set of dependencies; written only after pip has finished.
DEMO := $(VENV)/.installed-demo
TEST := $(VENV)/.installed-test
LINT := $(VENV)/.installed-lint
FUZZ := $(VENV)/.installed-fuzz
BENCH_READY := $(VENV)/.installed-bench
# The message packages that have no wheels are compiled; folders count, for files that went away.
DEMO_MESSAGES := $(VENV)/.compiled-demo
TEST_MESSAGES := $(VENV)/.compiled-test

# A ROS install sourced in this shell would put its own rclpy and libraries in front of the environment's.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH AMENT_PREFIX_PATH AMENT_CURRENT_PREFIX CMAKE_PREFIX_PATH
unexport COLCON_PREFIX_PATH COLCON_CURRENT_PREFIX RMW_IMPLEMENTATION ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

.DELETE_ON_ERROR:
.PHONY: help demo test test-long lint bench soak faults fuzz clean distclean

help:
	@echo "make demo [SOURCE=path]   replay thermal and RGB images through the fusion node; results in $(OUTPUT)/"
	@echo "make test                 run the tests"
	@echo "make lint                 check style, types and the layers of the package"
	@echo "make test-long            the tests that take over a minute: every fault of the table, a short soak, more"
	@echo "make bench [OFFICIAL=checkpoints.pt] [BENCH=--quick]   time everything; report in $(BENCH_OUTPUT)/"
	@echo "make soak [MINUTES=60]    overload the node while its cameras die and return; results in $(SOAK_OUTPUT)/"
	@echo "make faults               inject every fault and write docs/faults.md"
	@echo "make fuzz [CASES=10000000]   hostile images, model cards and calibration files; goes on where it stopped"
	@echo "make clean                remove results and caches; make distclean removes the environments too"
	@echo "Options: PYTHON=python3.11, ROS_WHEELS=kilted|jazzy, OUTPUT=folder"

demo: $(DEMO_MESSAGES)
	@$(BIN)/sage-fusion demo --source "$(SOURCE)" --output "$(OUTPUT)"

test: $(TEST_MESSAGES)
	$(BIN)/python -m pytest $(TESTS)

# What takes over a minute: the fault table and a short soak.
test-long: $(TEST_MESSAGES)
	$(BIN)/python -m pytest -m long $(TESTS)

lint: $(LINT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@git ls-files -z '*.py' | xargs -0 wc -l | awk '$$1 > 400 && $$2 != "total" \
	    { print $$2 ": " $$1 " lines; a file holds at most 400"; long = 1 } END { exit long }'
	@! git grep -nIE '(^|[^[:alnum:]_.])/(work|root|home/[a-z]+|tmp)/' || { echo "a path of one machine"; exit 1; }

# Goes on where an earlier one was interrupted. Nothing else should run meanwhile.
bench: $(BENCH_READY) $(DEMO_MESSAGES)
	@$(BIN)/python tools/bench --output "$(BENCH_OUTPUT)" $(if $(OFFICIAL),--official "$(OFFICIAL)") $(BENCH)

soak: $(DEMO_MESSAGES)
	@$(BIN)/python tools/soak --minutes $(MINUTES) --output "$(SOAK_OUTPUT)"

faults: $(TEST_MESSAGES)
	$(BIN)/python -m pytest -q -m 'long or not long' test/test_faults.py -o junit_family=xunit1 --junitxml build/faults.xml
	$(BIN)/python tools/fault_table.py build/faults.xml docs/faults.md

fuzz: $(FUZZ)
	$(BIN)/python tools/fuzz --group images --cases $(CASES) --state "$(FUZZ_OUTPUT)/images.json"
	$(BIN)/python tools/fuzz --group files --cases $$(($(CASES) / 100)) --state "$(FUZZ_OUTPUT)/files.json"

$(MADE):
	@tools/check_machine.sh "$(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
	    echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "$(PYTHON)" > $(VENV)/.python && touch $@

# $(call install,EXTRAS): quiet, but never silent about why it failed.
define install
	@echo "Installing [$(1)] into $(VENV); the first time takes a few minutes"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[$(1)]' || { \
	    echo "The installation failed; the reason stands above. It needs the network (or PIP_INDEX_URL) and can" \
	    "be started again: make goes on from here." >&2; exit 1; }
	@touch $@
endef

$(DEMO): $(MADE) setup.py
	$(call install,$(DEMO_EXTRAS))

$(TEST): $(DEMO)
	$(call install,$(TEST_EXTRAS))

$(LINT): $(DEMO)
	$(call install,$(LINT_EXTRAS))

$(BENCH_READY): $(DEMO)
	$(call install,$(BENCH_EXTRAS))

$(FUZZ): $(DEMO)
	$(call install,fuzz)

# $(call compile,FOLDERS): only what has changed, or was compiled against other wheels.
define compile
	@$(BIN)/python tools/build_interfaces.py $(1)
	@touch $@
endef

$(DEMO_MESSAGES): $(DEMO) tools/build_interfaces.py $(shell find interfaces)
	$(call compile,interfaces)

$(TEST_MESSAGES): $(TEST) $(DEMO_MESSAGES) $(shell find test/interfaces)
	$(call compile,interfaces test/interfaces)

# What training has left in runs/ stays: it is not made again in a minute.
clean:
	rm -rf build install log dist demo_output soak_output bench_output fuzz_output *.egg-info .pytest_cache \
	    .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find sage_fusion_ros test launch tools -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-jazzy
