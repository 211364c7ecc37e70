"""Pictures: skeletons over depth frames, and the demo's page."""
