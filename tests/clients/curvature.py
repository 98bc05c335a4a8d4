"""Puts eigenvalues of the Hessian beside the loss of a stored surface with zarr-python, for its convexity map.

The values here are made up from the surface's coordinates: a program that computes them puts its own in their place,
of the same shape (ny, nx), NaN where it has none.

    python3 curvature.py STORE SURFACE
"""

import sys

import numpy
import zarr

store, surface = sys.argv[1:]
group = zarr.open_group(f"{store}/{surface}.zarr", mode="r+")
loss = group["loss"]
x, y = numpy.meshgrid(group["x"][:], group["y"][:])
eigenvalues = {"lambda_min": -numpy.hypot(x, y), "lambda_max": 4 + 0 * x}
for name, values in eigenvalues.items():
    # The chunks and the bytes of `loss`, or the array is refused.
    array = group.create_array(
        name,
        shape=loss.shape,
        chunks=loss.chunks,
        dtype="float64",
        fill_value=numpy.nan,
        compressors=None,
        dimension_names=["y", "x"],
        overwrite=True,
    )
    array[:] = values
print(f"{' and '.join(eigenvalues)} at {loss.size} points")
