"""Prints the table of containers in docs/serving.md."""

from mavos_deploy.runtime.triton.containers import CONTAINERS

print("| container | Python | ONNX Runtime | TensorRT |")
print("|---|---|---|---|")
for tag, container in CONTAINERS.items():
    print(f"| {tag} | {container.python} | {container.onnxruntime} | {container.tensorrt or '?'} |")
