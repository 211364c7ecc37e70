"""Training: losses, recipes, the loop. The loop knows nothing of the data; the caller hands it sources of samples."""
