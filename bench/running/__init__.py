"""Running methods on cases: jobs, workers, and where they run."""
