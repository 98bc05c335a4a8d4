"""Draws a direction of Relief again from its definition, with NumPy alone, and compares.

    python3 direction.py CHECKPOINT.safetensors SEED AXIS NORMALIZATION DIRECTION.safetensors

AXIS is x or y. DIRECTION.safetensors is what `relief surface directions` wrote. Exits with an error where an entry differs
by more than the rounding of float32. A tensor of the direction that CHECKPOINT has and that is 0 everywhere does not move.
"""

import hashlib
import json
import sys

import numpy as np


def read(path):
    """The tensors of a safetensors file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[slice(*tensor["data_offsets"])], np.float32).reshape(tensor["shape"])
        for name, tensor in header.items()
    }


def normals(seed, axis, name, count):
    """N(0, 1) draws: Philox4x64-10 keyed by the names, then the transform of Box and Muller, in float64."""
    key = hashlib.sha256(b"relief direction v1\0" + seed.to_bytes(8, "little") + axis.encode() + name.encode())
    words = np.random.Philox(key=np.frombuffer(key.digest()[:16], "<u8")).random_raw(count + count % 2)
    u, v = ((words >> np.uint64(11)) * 2.0**-53).reshape(-1, 2).T
    radius = np.sqrt(-2.0 * np.log1p(-u))
    pairs = np.stack([radius * np.cos(2.0 * np.pi * v), radius * np.sin(2.0 * np.pi * v)], axis=1)
    return pairs.reshape(-1)[:count].astype(np.float32)


def normalized(draw, weights, normalization):
    """The draw, scaled to the weights; filters are the slices of the first dimension."""
    draw, weights = draw.astype(np.float64), weights.astype(np.float64)
    length = lambda tensor: np.sqrt((tensor.reshape(len(tensor), -1) ** 2).sum(axis=1)).reshape(-1, *[1] * (tensor.ndim - 1))
    return {
        "filter": lambda: draw * (length(weights) / (length(draw) + 1e-10)),
        "layer": lambda: draw * (np.linalg.norm(weights) / np.linalg.norm(draw)),
        "weight": lambda: draw * weights,
        "dfilter": lambda: draw / (length(draw) + 1e-10),
        "dlayer": lambda: draw / np.linalg.norm(draw),
        "none": lambda: draw,
    }[normalization]()


checkpoint, seed, axis, normalization, direction = sys.argv[1:]
weights, found = read(checkpoint), read(direction)
worst, n_moving = 0.0, 0
for name, tensor in found.items():
    if weights[name].ndim <= 1:
        assert not tensor.any(), f"{name} is a vector and moves"
        continue
    draw = normals(int(seed), axis, name, tensor.size).reshape(tensor.shape)
    expected = normalized(draw, weights[name], normalization)
    # Entries near 0 are rounded with the draw, of which all are of the size of 1.
    scale = np.maximum(np.abs(expected), 1e-3 * np.abs(expected).max())
    worst = max(worst, float((np.abs(tensor - expected) / scale).max()))
    n_moving += 1
assert n_moving > 0, "nothing moves"
assert worst <= 1e-6, f"an entry differs by {worst:.1e} of its size"
print(f"{n_moving} tensors, {sum(tensor.size for tensor in found.values())} entries; the largest difference is {worst:.1e} of an entry")
