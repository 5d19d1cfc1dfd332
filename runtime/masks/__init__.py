"""Label maps in all formats that others read and write, one module for each."""
