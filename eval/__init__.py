"""Evaluation: metrics, benchmark protocols, voxel volumes and reports, for any predictor."""
