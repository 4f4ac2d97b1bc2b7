"""Evaluation of tracking in videos: clips with known motion, and measures of jitter, lag, switched ids and time."""
