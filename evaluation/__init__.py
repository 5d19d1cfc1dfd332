"""Made-up clips with truth, J and F, and tables."""
