"""The model in torch: what training trains, and the readable twin of the native engine."""
