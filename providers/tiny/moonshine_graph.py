"""Graphs of ONNX operators, written down in the order in which they run. Needs the package `onnx`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

OPSET = 17
IR_VERSION = 9
"""Those of the published exports: libmoonshine's own ONNX Runtime is older than the one installed here."""

FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
Shape = Sequence[int | str]
"""A word stands for a length that is known when the graph runs."""
Constant = NDArray[np.float32] | NDArray[np.int64]


class Graph:
    """A graph in the making. Values go by their names, which its methods return."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, type: int, shape: Shape) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, type, shape))
        return name

    def output(self, name: str, value: str, type: int, shape: Shape) -> None:
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, type, shape))

    def constant(self, values: Constant) -> str:
        name = f"constant.{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def integers(self, *values: int) -> str:
        """One dimension of 64-bit integers."""
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: int) -> str:
        return self.constant(np.array(value, np.int64))

    def node(self, operator: str, *inputs: str, **attributes: int | float | Sequence[int]) -> str:
        """Add an operator of one output. Its inputs and attributes: https://onnx.ai/onnx/operators"""
        (output,) = self.nodes(operator, *inputs, outputs=1, **attributes)
        return output

    def nodes(self, operator: str, *inputs: str, outputs: int, **attributes: int | float | Sequence[int]) -> list[str]:
        names = [f"{operator}.{len(self._nodes)}.{order}" for order in range(outputs)]
        node = helper.make_node(operator, inputs, names)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self._nodes.append(node)
        return names

    def length(self, value: str, axis: int) -> str:
        """The value's length along an axis, as one dimension of one integer."""
        return self.node("Shape", value, start=axis, end=axis + 1)

    def model(self) -> onnx.ModelProto:
        """Raises `onnx.checker.ValidationError` if operators do not fit together."""
        graph = helper.make_graph(self._nodes, "tiny", self._inputs, self._outputs, initializer=self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="hal0"
        )
        onnx.checker.check_model(model)
        return model


def save_ort(graph: Graph, path: Path) -> None:
    """Save in ONNX Runtime's own format, the only one that libmoonshine loads.

    https://onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html
    """
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    # What goes beyond basic optimization is not portable to the library's older runtime.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(graph.model().SerializeToString(), options, providers=["CPUExecutionProvider"])
