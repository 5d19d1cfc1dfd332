"""The folder of a bundle: its manifest, hashes, engines and quantisation."""
