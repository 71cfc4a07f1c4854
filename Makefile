# make demo: set-up and the main job.  make test: set-up and the tests.  The rest is for development.
.PHONY: setup demo test test-slow lint validate bench bench-kernels bench-operations bench-tracking bench-scaling bench-speed bench-ablation bench-observations bench-robustness bench-verdict bench-posed bench-radiance bench-material profile gpu-check train-stereo train-mask-net train-mask-doubt clean
BIN := .venv/bin
DEMO := demo

setup: .venv/.set-up

.venv/.set-up: constraints.txt constraints-hashes.txt pyproject.toml tools/setup.sh
	@bash tools/setup.sh

demo: setup
	@$(BIN)/twin demo --out $(DEMO)

# in as many processes as the machine carries (tests/conftest.py), file by file
PYTEST := $(BIN)/python -m pytest -rs -n auto --dist loadfile --no-loadscope-reorder
test: setup
	@$(PYTEST) -m "not slow" $(ARGS)

# real servers, workers, browsers, kills, whole runs
test-slow: setup
	@$(PYTEST) -m slow $(ARGS)

lint: setup
	@$(BIN)/ruff format --check -q stereotwin flows stages tests tools notebooks examples
	@$(BIN)/ruff check stereotwin flows stages tests tools notebooks
	@$(BIN)/pyright
	@$(BIN)/lint-imports

bench: setup
	@$(BIN)/python tools/bench.py $(ARGS)

# methods of finding and matching points; ARGS="--methods sift aliked" for example
bench-tracking: setup
	@$(BIN)/python tools/bench_tracking.py $(ARGS)

bench-kernels: setup
	@$(BIN)/python tools/bench_kernels.py $(ARGS)

# servers, workers, kills and a batch of 100: half an hour; ARGS="--captures 10" or ARGS="--only kills" for less
bench-operations: setup
	@$(BIN)/python -m tools.bench_operations $(ARGS)

# an older checkout beside this one, turn by turn: ARGS="--old ../before --profile preview --rounds 3"
bench-speed: setup
	@$(BIN)/python tools/bench_speed.py $(ARGS)

bench-scaling: setup
	@$(BIN)/python tools/bench_scaling.py $(ARGS)

# a surface by surface.field shape and observations, poses as they are or shaken. ARGS="CAPTURE STORE [--shaken]"
bench-observations: setup
	@$(BIN)/python -m tools.bench_observations $(ARGS)

bench-ablation: setup
	@$(BIN)/python tools/bench_ablation.py $(ARGS)

# captures drawn by seed, judged good, honest or wrong; stops and resumes at any time. ARGS="--seeds 0-19" for less
bench-robustness: setup
	@$(BIN)/python -m tools.bench_robustness $(ARGS)

# verdicts and expected errors beside the truth; ARGS="CAPTURE ... --first 0,4"
bench-verdict: setup
	@$(BIN)/python -m tools.bench_verdict $(ARGS)

# posed pictures: cameras with planted faults, DTU and temple with pictures left out. ARGS="--only shoe" for less
bench-posed: setup
	@$(BIN)/python -m tools.bench_posed $(ARGS)

# the radiance field on lego (alpha) and beer (LLFF, no masks), every 8th picture left out. ARGS="--only lego --lego-width 200" for less
bench-radiance: setup
	@$(BIN)/python -m tools.bench_radiance $(ARGS)

# base colour, roughness and light of path traced objects (extra oracle, libllvm19). ARGS="--shape true --size 256 --samples 128" for less
bench-material: setup
	@$(BIN)/python -m tools.bench_material $(ARGS)

# mass, colliders and drops of shapes with hollows; ARGS="CAPTURE TWIN ..." for twins too
bench-physics: setup
	@$(BIN)/python -m tools.bench_physics $(ARGS)

# NVIDIA's and Khronos' validators, in environments of their own, on the built-in capture's twin
validate: setup
	@$(BIN)/python -m tools.validate $(ARGS)

# where the time goes: cores busy over time (a picture), then by stage and function. ARGS="--only timeline" for the first
profile: setup
	@$(BIN)/python tools/profile_run.py $(ARGS)

# stops and resumes at any time; ARGS="--minutes 30 --device cuda" for example
train-stereo: setup
	@$(BIN)/python -m tools.train_stereo $(ARGS)

# the network that looks at a frame's evidence as a whole, learned on drawn captures; captures made before are used again. ARGS="--seeds 1000-1119"
train-mask-net: setup
	@$(BIN)/python -m tools.train_mask_net $(ARGS)

# which masks look wrong, learned on drawn captures; stops and resumes at any time. ARGS="--seeds 1000-1119"
train-mask-doubt: setup
	@$(BIN)/python -m tools.train_mask_doubt $(ARGS)

# every CUDA path on this machine's GPU: right or wrong, time and memory (docs/gpu.md); status 3 without a GPU
gpu-check: setup
	@$(BIN)/python tools/gpu_check.py $(ARGS)

clean:
	rm -rf .venv demo .pytest_cache .ruff_cache
