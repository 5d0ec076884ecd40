"""Nodes that return a subgraph instead of outputs. `output_data` is a list of (new graph or None, outputs)."""

import nodes

from comfy_execution.graph_utils import is_link
from comfy_execution.results import merge


def new_nodes(output_data):
    """(node id, node) of all new graphs."""
    for new_graph, _ in output_data:
        yield from (new_graph or {}).items()


def start(dynprompt, execution_list, unique_id, output_data):
    """Lets the expanded node wait for its subgraph. Returns what resolve() wants once that has run."""
    new_output_ids = []
    for node_id, node_info in new_nodes(output_data):
        display_id = node_info.get("override_display_id", unique_id)
        dynprompt.add_ephemeral_node(node_id, node_info, unique_id, display_id)
        if getattr(nodes.NODE_CLASS_MAPPINGS[node_info["class_type"]], "OUTPUT_NODE", False):
            new_output_ids.append(node_id)
    for node_id in new_output_ids:
        execution_list.add_node(node_id)
    for new_graph, node_outputs in output_data:
        for link in node_outputs:
            if new_graph is not None and is_link(link):
                execution_list.add_strong_link(link[0], link[1], unique_id)
    return [(new_graph is not None, node_outputs) for new_graph, node_outputs in output_data]


def resolve(pending, outputs_of):
    """The outputs of an expanded node: links replaced by what they lead to."""
    resolved = []
    for is_subgraph, result in pending:
        if is_subgraph:
            result = tuple(outputs_of(r[0])[r[1]][0] if is_link(r) else r for r in result)
        resolved.append(result)
    return merge(resolved)
