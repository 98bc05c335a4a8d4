"""Opens a stored surface with zarr-python and with xarray, and holds both against what the server reads from it.

    python3 result.py SERVER STORE SURFACE

STORE is the directory of the server's store. Exits with an error where a bit of a value differs.
"""

import sys

import grpc
import numpy as np
import xarray as xr
import zarr
from relief.surface.v1 import surface_pb2 as pb
from relief.surface.v1.surface_pb2_grpc import SurfaceServiceStub

server, store, surface = sys.argv[1:]
surfaces = SurfaceServiceStub(grpc.insecure_channel(server))
header, *parts = surfaces.ReadSurface(pb.ReadSurfaceRequest(name=surface))
shape = len(header.header.y), len(header.header.x)
expected = {
    "x": np.array(header.header.x),
    "y": np.array(header.header.y),
    "loss": np.concatenate([part.rows.loss for part in parts]).reshape(shape),
    "accuracy": np.concatenate([part.rows.accuracy for part in parts]).reshape(shape),
    "squared_error": np.concatenate([part.rows.squared_error for part in parts]).reshape(shape),
    "flags": np.frombuffer(b"".join(part.rows.flags for part in parts), np.uint8).reshape(shape),
}

path = f"{store}/{surface}.zarr"
group = zarr.open_group(path, mode="r")
dataset = xr.open_zarr(path, consolidated=False, mask_and_scale=False)
assert dataset["loss"].dims == ("y", "x"), dataset["loss"].dims
for opened, values in [("zarr", group), ("xarray", dataset)]:
    for name, array in expected.items():
        found = np.asarray(values[name])
        assert (found.dtype, found.shape) == (array.dtype, array.shape), f"{opened}: {name}: {found.dtype} {found.shape}"
        assert found.tobytes() == array.tobytes(), f"{opened}: {name} differs from what the server reads"

finite = dataset["loss"].where(dataset["flags"] == 1)
lowest = {axis: float(dataset[axis][idx]) for axis, idx in finite.argmin(...).items()}
print(f"{len(expected)} arrays, the same to the last bit; lowest loss at {lowest}")
