"""How the weights move: the loop, the evaluation, the optimizer and its schedule."""
