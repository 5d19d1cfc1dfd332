"""The ways of running the network that a bench compares."""

# Ways to run the PyTorch network: in its authors' form, or tuned, in that of this project.
PYTORCH = ("eager", "compiled", "tuned-eager", "tuned-compiled")
GROWING = "pytorch-growing"  # with a memory like that of DeAOT-L
