"""What is measured. Each module has `run(bench)`, which gives tables."""
