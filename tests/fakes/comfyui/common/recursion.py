"""What the recursive executors do the same way: planning, forgetting stale outputs, calling node functions."""

import nodes
from comfy_execution.results import calls_of, split_returns


def links_of(node):
    return [value for value in node["inputs"].values() if isinstance(value, list)]


def recursive_will_execute(prompt, outputs, current_item):
    """How many nodes must run for this one, ancestors counted once per way that leads to them."""
    if current_item in outputs:
        return 0
    return 1 + sum(
        recursive_will_execute(prompt, outputs, link[0]) for link in links_of(prompt[current_item])
    )


def delete_if_changed(prompt, old_prompt, outputs, current_item):
    """Drops the node's output when it, or a node before it, has changed. True when there is no output now."""
    if current_item not in outputs:
        return True
    node, old = prompt[current_item], old_prompt.get(current_item)
    changed = (
        old is None
        or node["class_type"] != old["class_type"]
        or node["inputs"] != old["inputs"]
        or hasattr(nodes.NODE_CLASS_MAPPINGS[node["class_type"]], "IS_CHANGED")
        or any(delete_if_changed(prompt, old_prompt, outputs, link[0]) for link in links_of(node))
    )
    if changed:
        del outputs[current_item]
    return changed


def keep_only(outputs, kept):
    for gone in [node_id for node_id in outputs if node_id not in kept]:
        del outputs[gone]


def forget_unfinished(outputs, old_prompt, finished):
    """After a failure: as if only the nodes in `finished` had ever run."""
    for gone in [node_id for node_id in outputs if node_id not in finished]:
        old_prompt.pop(gone, None)
    keep_only(outputs, finished)


def delete_stale(prompt, old_prompt, outputs):
    keep_only(outputs, prompt)
    for node_id in prompt:
        delete_if_changed(prompt, old_prompt, outputs, node_id)


def is_output(node):
    return getattr(nodes.NODE_CLASS_MAPPINGS[node["class_type"]], "OUTPUT_NODE", False)


def single_inputs(inputs, class_def, unique_id, outputs):
    """{name: value}: before nodes were mapped over lists."""
    arguments = {}
    for name, value in inputs.items():
        arguments[name] = outputs[value[0]][value[1]] if isinstance(value, list) else value
    for name, kind in class_def.INPUT_TYPES().get("hidden", {}).items():
        if kind == "UNIQUE_ID":
            arguments[name] = unique_id
    return arguments


# ---- from R2 on: nodes are mapped over lists


def get_input_data(inputs, class_def, unique_id, outputs={}, prompt={}, extra_data={}):
    """{name: values}; an input whose node has no output yet is (None,)."""
    input_data_all = {}
    for name, value in inputs.items():
        if isinstance(value, list):
            input_data_all[name] = outputs[value[0]][value[1]] if value[0] in outputs else (None,)
        else:
            input_data_all[name] = [value]
    for name, kind in class_def.INPUT_TYPES().get("hidden", {}).items():
        if kind == "UNIQUE_ID":
            input_data_all[name] = [unique_id]
    return input_data_all


def map_node_over_list(obj, input_data_all, func, allow_interrupt=False):
    results = []
    for arguments in calls_of(input_data_all):
        if allow_interrupt:
            nodes.before_node_execution()
        results.append(getattr(obj, func)(**arguments))
    return results


def get_output_data(obj, input_data_all):
    """(output, ui)"""
    return_values = map_node_over_list(obj, input_data_all, obj.FUNCTION, allow_interrupt=True)
    output, ui, _ = split_returns(return_values, obj)
    return output, ui
