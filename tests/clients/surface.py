"""Creates a loss surface, watches it to its end and reads it: a client of Relief made of the stubs of its protos.

    python3 surface.py SERVER CHECKPOINT

Prints the name of the surface, and the lowest loss with where it is.
"""

import sys

import grpc
import numpy as np
from relief.catalog.v1.catalog_pb2 import SPLIT_TEST
from relief.job.v1.job_pb2 import JOB_STATE_SUCCEEDED, JobState
from relief.surface.v1 import surface_pb2 as pb
from relief.surface.v1.surface_pb2_grpc import SurfaceServiceStub

server, checkpoint = sys.argv[1:]
surfaces = SurfaceServiceStub(grpc.insecure_channel(server))

axis = pb.Axis(min=-1, max=1, count=9)
plane = pb.Plane(origin=checkpoint, x={"random": {"seed": 1}}, y={"random": {"seed": 1}})
data = pb.DatasetSlice(dataset="fashion-mnist-6k", split=SPLIT_TEST, limit=200)
spec = pb.SurfaceSpec(network="lenet5", plane=plane, x=axis, y=axis, data=data)
try:
    name = surfaces.CreateSurface(pb.CreateSurfaceRequest(spec=spec)).surface.name
except grpc.RpcError as error:
    sys.exit(f"refused: {error.code().name}: {error.details()}")

for change in surfaces.WatchSurface(pb.WatchSurfaceRequest(name=name)):
    status = change.surface.status
    print(f"{status.points_done} of {status.points_total} points", file=sys.stderr)
if status.state != JOB_STATE_SUCCEEDED:
    sys.exit(f"{name} is {JobState.Name(status.state)}: {status.error.message}")

header, *parts = surfaces.ReadSurface(pb.ReadSurfaceRequest(name=name))
x, y = np.array(header.header.x), np.array(header.header.y)
loss = np.concatenate([part.rows.loss for part in parts]).reshape(len(y), len(x))

row, column = np.unravel_index(np.nanargmin(loss), loss.shape)
print(name)
print(f"lowest loss {loss[row, column]:.4f} at ({x[column]:g}, {y[row]:g}) of {loss.shape}")
