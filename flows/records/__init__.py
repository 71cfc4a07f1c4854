"""What lies on disk of runs and twins: requests, records, verdicts and places. Nothing here runs anything."""
