"""Learning-rate schedules, one file each: a factor of the learning rate at each moment."""
