"""The state of a run, its step, its loop, and what it leaves on disk."""
