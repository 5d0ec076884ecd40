"""The arguments of a node, from its constants and from the outputs of other nodes."""

from comfy_execution.graph_utils import is_link


def input_data(inputs, class_def, unique_id, output_of):
    """({name: values}, missing keys). `output_of(node_id)` is a node's list of output columns, or None
    without one: the input is missing then, because it is lazy."""
    input_data_all, missing_keys = {}, {}
    for name, value in inputs.items():
        if not is_link(value):
            input_data_all[name] = [value]
            continue
        columns = output_of(value[0])
        if columns is None:
            missing_keys[name] = True
            input_data_all[name] = (None,)
        else:
            input_data_all[name] = columns[value[1]]
    for name, kind in class_def.INPUT_TYPES().get("hidden", {}).items():
        if kind == "UNIQUE_ID":
            input_data_all[name] = [unique_id]
    return input_data_all, missing_keys
