"""Online detectors of events in a run, one file each: they say when to keep a point."""
