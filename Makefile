# make demo: set-up and the main job.  make test: set-up and the tests.  The rest is for development.
.PHONY: setup demo test lint bench bench-kernels bench-tracking bench-scaling bench-ablation profile train-stereo clean
BIN := .venv/bin
DEMO := demo

setup: .venv/.set-up

.venv/.set-up: constraints.txt pyproject.toml tools/setup.sh
	@bash tools/setup.sh

demo: setup
	@$(BIN)/twin demo --out $(DEMO)

# slow tests run last, whatever their file (tests/conftest.py)
test: setup
	@$(BIN)/python -m pytest -rs $(ARGS)

lint: setup
	@$(BIN)/ruff check flows stages tests tools
	@$(BIN)/pyright
	@$(BIN)/lint-imports

bench: setup
	@$(BIN)/python tools/bench.py $(ARGS)

# methods of finding and matching points; ARGS="--methods sift aliked" for example
bench-tracking: setup
	@$(BIN)/python tools/bench_tracking.py $(ARGS)

bench-kernels: setup
	@$(BIN)/python tools/bench_kernels.py $(ARGS)

bench-scaling: setup
	@$(BIN)/python tools/bench_scaling.py $(ARGS)

bench-ablation: setup
	@$(BIN)/python tools/bench_ablation.py $(ARGS)

# where the time goes, by stage and function
profile: setup
	@$(BIN)/python tools/profile_run.py $(ARGS)

# stops and resumes at any time; ARGS="--minutes 30 --device cuda" for example
train-stereo: setup
	@$(BIN)/python -m tools.train_stereo $(ARGS)

clean:
	rm -rf .venv demo .pytest_cache .ruff_cache
