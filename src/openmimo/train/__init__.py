"""Training: packed batches, losses, optimisers, snapshots and the loop that runs them."""
