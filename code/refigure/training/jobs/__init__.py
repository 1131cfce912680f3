"""One training job: what is adopted, kept in states and parts, and on which device it runs."""
