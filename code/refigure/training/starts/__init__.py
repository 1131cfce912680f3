"""Where training begins: one file a kind of start, named by a spec's `start: {take: ...}`."""
