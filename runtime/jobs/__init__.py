"""Videos over workers."""
