# The whole developer interface. Everything runs in .venv; nothing is installed outside it,
# except Debian packages by `make system-packages` (which `make test` calls).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test lint format bench soak web proto system-packages clean

demo: $(VENV)/demo.stamp web  ## broker, cloud, edge and a fleet; ARGS="--for 60" ends by itself
	@$(BIN)/greenhaul-sim demo $(ARGS)

test: $(VENV)/dev.stamp system-packages web  ## every test; ARGS go to pytest
	$(BIN)/python -m pytest -m "not soak" $(ARGS)

lint: $(VENV)/dev.stamp  ## ruff, format check, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev.stamp  ## each line a ratio against a baseline of the same run
	@for bench in tests/benchmarks/bench_*.py; do $(BIN)/python $$bench || exit 1; done

soak: $(VENV)/dev.stamp system-packages  ## the long forms
	$(BIN)/python -m pytest -m soak --timeout 0 $(ARGS)

web: $(VENV)/demo.stamp  ## the console, built when its sources changed
	@$(BIN)/python cloud/web_build.py

proto: $(VENV)/dev.stamp  ## uplink_pb2.py from uplink.proto (grpcio-tools 1.74 = protobuf 6.31)
	$(PYTHON) -m venv $(VENV)/protoc && $(VENV)/protoc/bin/pip install -q "grpcio-tools==1.74.*"
	cd protocols && ../$(VENV)/protoc/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. greenhaul_protocols/uplink.proto

system-packages:
	@sh tests/system_packages.sh

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip

$(VENV)/demo.stamp: $(VENV)/bin/python pyproject.toml
	GREENHAUL_WEB=0 $(BIN)/python -m pip install -q -e '.[demo]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python pyproject.toml
	GREENHAUL_WEB=0 $(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@ $(VENV)/demo.stamp

clean:
	rm -rf $(VENV) dist .demo .mypy_cache .ruff_cache .pytest_cache
