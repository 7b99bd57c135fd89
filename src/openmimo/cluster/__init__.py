"""The same training on many machines: players, teachers and tools are actors of Ray."""
