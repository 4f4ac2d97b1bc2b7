"""Everything that judges: metrics, protocols, voxels and reports. Any predictor can be put to them."""
