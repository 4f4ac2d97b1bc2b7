"""Everything that makes weights: labels, packs, augmentation, losses, Lightning modules and configurations."""
