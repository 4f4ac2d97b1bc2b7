"""Draw photos of faces at larger yaw (face profiling)."""
