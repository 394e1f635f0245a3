"""What is learned: columns, tokens, head, loss and metrics, one module a task."""
