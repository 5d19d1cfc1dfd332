"""A second look at the results of a run: confidence, events, and pages that show them."""
