"""Our entrypoint beside what people would otherwise run: the parts of `benchmarks/speed.py`."""
