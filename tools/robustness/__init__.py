"""`make bench-robustness`: captures drawn by seed, run, and judged good, honest or wrong (docs/benchmarks.md)."""
