"""What a run will need, before it runs: memory from the model's shape alone, time from a few steps."""
