"""Between executors and node functions: slicing inputs into calls, merging what the calls returned."""

from enum import Enum

from comfy_execution.graph_utils import ExecutionBlocker


class ExecutionResult(Enum):
    SUCCESS = 0
    FAILURE = 1
    PENDING = 2


def calls_of(input_data_all):
    """The keyword arguments of each call of the node function; short lists repeat their last item."""
    count = max((len(values) for values in input_data_all.values()), default=1)
    return [{k: v[min(i, len(v) - 1)] for k, v in input_data_all.items()} for i in range(count)]


def blocker_among(arguments):
    return next((v for v in arguments.values() if isinstance(v, ExecutionBlocker)), None)


def merge(results):
    """[(a, b), (c, d)] -> [[a, c], [b, d]]"""
    return [list(column) for column in zip(*results)]


def split_returns(return_values, obj):
    """(output, ui, has_subgraph) of what the calls of a node's function returned. With a subgraph `output` is
    a list of (new graph or None, outputs)."""
    uis, plain, subgraphs = [], [], []
    for value in return_values:
        graph = None
        if isinstance(value, dict):
            if "ui" in value:
                uis.append(value["ui"])
            graph = value.get("expand")
            value = value.get("result", ())
        if isinstance(value, ExecutionBlocker):
            value = (value,) * len(obj.RETURN_TYPES)
        plain.append(value)
        subgraphs.append((graph, value))
    ui = {key: [item for one in uis for item in one[key]] for key in uis[0]} if uis else {}
    if any(graph is not None for graph, _ in subgraphs):
        return subgraphs, ui, True
    return merge(plain), ui, False


def ui_entry(node_id, display_node, parent_node, real_node_id, output):
    """What the history and the output cache keep of a node's ui."""
    meta = {
        "node_id": node_id,
        "display_node": display_node,
        "parent_node": parent_node,
        "real_node_id": real_node_id,
    }
    return {"meta": meta, "output": output}


def history_result(ui_entries):
    return {
        "outputs": {node_id: entry["output"] for node_id, entry in ui_entries.items()},
        "meta": {node_id: entry["meta"] for node_id, entry in ui_entries.items()},
    }


def format_value(value):
    return value if value is None or isinstance(value, (int, float, bool, str)) else type(value).__name__


def format_inputs(input_data_all):
    return {name: [format_value(v) for v in values] for name, values in (input_data_all or {}).items()}


def full_type_name(class_):
    return (
        class_.__qualname__
        if class_.__module__ == "builtins"
        else class_.__module__ + "." + class_.__qualname__
    )
