"""The network: backbone, heads, decode. It knows nothing of losses, loops or data."""
