"""What may move, one module a technique."""
