"""Made-up videos with exact masks."""
