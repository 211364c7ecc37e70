"""Where samples come from: rendered streams and frozen test sets."""
