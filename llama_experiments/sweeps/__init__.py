"""Many runs by one command, and what they say together."""
