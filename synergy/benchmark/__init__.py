"""How fast this machine predicts faces: networks next to those of other projects, stages of a photo, whole folders."""
