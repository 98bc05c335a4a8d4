"""Other programs that compute the loss of a network at a point, for a benchmark to hold an evaluator against.

A process that answers each command on standard input, a JSON object on a line, by another, until there are no more, so
that a driver can take turns between the peers and its own engine. The commands, by their field `cmd`:

    hello    -> peers: the versions of onnxruntime, onnx, torch and torchvision, null where one is not installed
    load     peer, model (ONNX, its weights those of the point), inputs (.npy, float32 n,C,H,W, as the network sees
             them), targets (.npy, int64 n), threads, batch -> loaded: an id; or skipped: why it cannot be had
    run      id -> seconds, loss (mean, in nats; null when it is not finite)
    memory   optionally reset -> peak_mib since the last reset, of this process

A command that fails is answered with `error`. The seconds are those of one pass, forward and loss; all preparation is
part of `load`, but the first run warms a peer up and is not to be counted. The peers:

    onnxruntime    ONNX Runtime on CPUs with all its optimisations of the graph. They fold batch normalisations into
                   convolutions; those after linear layers, which they leave, are folded here.
    torch-nchw     PyTorch, eager and in inference mode, operation by operation as a model written by hand would be.
    torch-nhwc     The same, with weights and inputs in the layout `channels_last`.
    original-loop  What the program of Li et al. (2018) does at each point: it sets the parameters to w + a x + b y, has
                   two workers decode every image anew (from 8 bits per pixel), and evaluates in eager PyTorch. The
                   weights w are those of the point, so a and b are 0, which takes as long as any other numbers.
"""

import ctypes
import functools
import importlib.metadata
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Tensor = Module = Graph = Node = Any  # Of PyTorch and ONNX, which need not be there.


class Lazy:  # A module that is imported at its first use: a process that never needs PyTorch does not hold it.
    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self.name), attribute)


onnx, onnxruntime, torch = Lazy("onnx"), Lazy("onnxruntime"), Lazy("torch")
image, transforms = Lazy("PIL.Image"), Lazy("torchvision.transforms")


class Peer:
    """One model on one set of samples in one program; `batches` yields its logits, batch after batch."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, threads: int, batch: int) -> None:
        self.inputs, self.targets, self.threads, self.batch = inputs, targets, threads, batch
        self.spans = [slice(start, start + batch) for start in range(0, len(targets), batch)]

    def run(self) -> float:
        """The sum of the losses of all samples."""
        loss = 0.0
        for logits, span in zip(self.batches(), self.spans):
            logits, targets = logits.astype(np.float64), self.targets[span]
            logits -= logits.max(axis=1, keepdims=True)
            loss += float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), targets]).sum())
        return loss


class OnnxRuntime(Peer):
    def __init__(self, path: str, *samples: Any) -> None:
        super().__init__(*samples)
        model = onnx.load(path)
        fold_linear_norms(model.graph)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3  # It warns of initialisers that folding leaves over.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def batches(self) -> Iterator[np.ndarray]:
        return (self.session.run(None, {self.name: self.inputs[span]})[0] for span in self.spans)


def attributes(node: Node) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def fold_linear_norms(graph: Graph) -> None:
    """Folds each batch normalisation that follows a linear layer into this."""
    values = {tensor.name: tensor for tensor in graph.initializer}
    linears = {node.output[0]: node for node in graph.node if node.op_type == "Gemm" and attributes(node).get("transB")}
    readers = [name for node in graph.node for name in node.input]
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        if norm.input[0] not in linears or readers.count(norm.input[0]) > 1:
            continue
        linear = linears[norm.input[0]]
        arrays = [onnx.numpy_helper.to_array(values[name]) for name in (*linear.input[1:], *norm.input[1:])]
        weight, bias, scale, shift, mean, variance = (array.astype(np.float64) for array in arrays)
        factor = scale / np.sqrt(variance + attributes(norm)["epsilon"])
        for idx, array in enumerate((weight * factor[:, None], (bias - mean) * factor + shift), start=1):
            linear.input[idx] += f"/folded/{norm.output[0]}"
            graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), linear.input[idx]))
        linear.output[0] = norm.output[0]
        graph.node.remove(norm)


class Torch(Peer):
    def __init__(self, path: str, *samples: Any, channels_last: bool = False) -> None:
        super().__init__(*samples)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.module = network(path).to(memory_format=layout)
        self.tensor = torch.from_numpy(self.inputs).to(memory_format=layout)

    def batches(self) -> Iterator[np.ndarray]:
        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            for span in self.spans:
                yield self.module(self.tensor[span]).numpy()


def network(path: str) -> Module:
    """A module that evaluates an ONNX model: its initialisers are parameters, its running statistics buffers.

    Activations are dropped after their last use, and ReLU and the addition of shortcuts may write over them then.
    """
    graph, module = onnx.load(path).graph, torch.nn.Module()
    running = {name for node in graph.node if node.op_type == "BatchNormalization" for name in node.input[3:]}
    keys = {tensor.name: tensor.name.replace(".", "/") for tensor in graph.initializer}  # PyTorch allows no dots.
    for tensor in graph.initializer:
        data = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        if tensor.name in running:
            module.register_buffer(keys[tensor.name], data)
        else:
            module.register_parameter(keys[tensor.name], torch.nn.Parameter(data))
    [source] = [value.name for value in graph.input if value.name not in keys]
    views = {source} | {node.output[0] for node in graph.node if node.op_type == "Flatten"}
    last_use = {name: idx for idx, node in enumerate(graph.node) for name in node.input if name not in keys}
    steps = []
    for idx, node in enumerate(graph.node):
        dead = {name for name in node.input if last_use.get(name) == idx}
        steps.append((operation(node, node.input[0] in dead - views), list(node.input), node.output[0], dead))

    def forward(x: Tensor) -> Tensor:
        values = {source: x}
        for function, inputs, output, dead in steps:
            values[output] = function(*(getattr(module, keys[key]) if key in keys else values[key] for key in inputs))
            for name in dead:
                del values[name]
        return values[graph.output[0].name]

    module.forward = forward
    return module.eval()


def operation(node: Node, in_place: bool) -> Callable[..., Tensor]:
    """What a node computes of its inputs. It may write over the first of them when `in_place`."""
    a = {"pads": [0] * 4, "strides": [1, 1], "dilations": [1, 1], "group": 1, "axis": 1, "epsilon": 1e-5}
    a |= {"kernel_shape": None, "count_include_pad": 0} | attributes(node)
    functional, kernel, strides, pads = torch.nn.functional, a["kernel_shape"], a["strides"], a["pads"][:2]
    with_pads = bool(a["count_include_pad"])
    operations = {
        "Conv": lambda x, w, b=None: functional.conv2d(x, w, b, strides, pads, a["dilations"], a["group"]),
        "BatchNormalization": lambda x, w, b, mean, var: functional.batch_norm(x, mean, var, w, b, eps=a["epsilon"]),
        "Gemm": functional.linear,
        "Relu": torch.relu_ if in_place else torch.relu,
        "Add": torch.Tensor.add_ if in_place else torch.add,
        "Concat": lambda *xs: torch.cat(xs, a["axis"]),
        "MaxPool": lambda x: functional.max_pool2d(x, kernel, strides, pads, a["dilations"]),
        "AveragePool": lambda x: functional.avg_pool2d(x, kernel, strides, pads, count_include_pad=with_pads),
        "GlobalAveragePool": lambda x: functional.adaptive_avg_pool2d(x, 1),
        "Flatten": lambda x: torch.flatten(x, a["axis"]),
    }
    only = {"auto_pad": b"NOTSET", "ceil_mode": 0, "alpha": 1, "beta": 1, "transA": 0, "training_mode": 0}
    is_plain = all(a.get(name, value) == value for name, value in only.items()) and a["pads"][:2] == a["pads"][2:]
    if node.op_type not in operations or not is_plain or (node.op_type == "Gemm" and not a.get("transB")):
        raise ValueError(f"{node.op_type} with {attributes(node)} is not supported")
    return operations[node.op_type]


class OriginalLoop(Torch):
    def __init__(self, path: str, *samples: Any) -> None:
        super().__init__(path, *samples)
        torch.manual_seed(123)
        self.weights = [parameter.data for parameter in self.module.parameters()]
        self.directions = [[self.draw(weight) for weight in self.weights] for _ in range(2)]
        images, data = Images(self.inputs, self.targets), torch.utils.data
        options = {"num_workers": 2, "multiprocessing_context": "fork"}  # Which is no longer the default everywhere.
        sampler = data.SubsetRandomSampler(range(len(images)))
        self.loader = data.DataLoader(images, self.batch, sampler=sampler, **options)

    def draw(self, weight: Tensor) -> np.ndarray:
        """A direction that is filter by filter as long as the weights; biases and normalisations stay."""
        direction = torch.randn(weight.shape)
        for step, part in zip(direction, weight):
            step.mul_(part.norm() / (step.norm() + 1e-10) if weight.dim() > 1 else 0.0)
        return direction.numpy()

    def run(self) -> float:
        torch.set_num_threads(self.threads)
        steps = [x * 0.0 + y * 0.0 for x, y in zip(*self.directions)]
        for parameter, weight, step in zip(self.module.parameters(), self.weights, steps):
            parameter.data = weight + torch.tensor(step)
        criterion, loss = torch.nn.CrossEntropyLoss(), 0.0
        n_correct = torch.tensor(0)  # Which that program counts, too.
        with torch.no_grad():
            for inputs, targets in self.loader:
                outputs = self.module(inputs)
                loss += criterion(outputs, targets).item() * len(targets)
                n_correct += outputs.max(1)[1].eq(targets).sum()
        return loss


class Images:
    """Inputs as images of 8 bits, decoded one by one as torchvision does with CIFAR-10."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        low, span = inputs.min(axis=(0, 2, 3)), np.maximum(np.ptp(inputs, axis=(0, 2, 3)), 1e-6)
        self.images = np.rint((inputs.transpose(0, 2, 3, 1) - low) / span * 255).astype(np.uint8)
        self.targets = targets.tolist()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(-low / span, 1 / span)])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, idx: int) -> tuple[Tensor, int]:
        return self.transform(image.fromarray(self.images[idx].squeeze())), self.targets[idx]


VERSIONS = {package.name.lower(): package.version for package in importlib.metadata.distributions()}
PEERS = {
    "onnxruntime": (["onnxruntime", "onnx"], OnnxRuntime),
    "torch-nchw": (["torch", "onnx"], Torch),
    "torch-nhwc": (["torch", "onnx"], functools.partial(Torch, channels_last=True)),
    "original-loop": (["torch", "torchvision", "onnx"], OriginalLoop),
}


class Server:
    """Each method is a command: it takes the fields of the request and returns those of the answer."""

    def __init__(self) -> None:
        self._peers: list[Peer] = []

    def hello(self) -> dict[str, Any]:
        return {"peers": {name: VERSIONS.get(name) for name in ("onnxruntime", "onnx", "torch", "torchvision")}}

    def load(self, peer: str, model: str, inputs: str, targets: str, threads: int, batch: int) -> dict[str, Any]:
        packages, make = PEERS[peer]
        if missing := [package for package in packages if package not in VERSIONS]:
            return {"skipped": f"{missing[0]} is not installed"}
        samples = (np.load(inputs).astype(np.float32), np.load(targets).astype(np.int64))
        self._peers.append(make(model, *samples, threads, batch))
        return {"loaded": len(self._peers) - 1}

    def run(self, id: int) -> dict[str, Any]:
        start = time.perf_counter()
        loss = self._peers[id].run()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "loss": loss / len(self._peers[id].targets) if math.isfinite(loss) else None}

    def memory(self, reset: bool = False) -> dict[str, Any]:
        status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
        if reset:
            ctypes.CDLL(None).malloc_trim(0)
            pathlib.Path("/proc/self/clear_refs").write_text("5")
        return {"peak_mib": int(status["VmHWM"].split()[0]) / 1024}


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # What libraries print must not come between the answers.
    server = Server()
    for request in map(json.loads, sys.stdin):
        try:
            answer = getattr(server, request.pop("cmd"))(**request)
        except Exception as error:  # Whatever a library raises, the driver is told.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
