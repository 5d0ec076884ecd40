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


def seen_by(unique_id, execution_list):
    """The output_of of the executors with cache entries, for one node's inputs."""

    def output_of(node_id):
        entry = execution_list.get_cache(node_id, unique_id)
        return entry.outputs if entry is not None else None

    return output_of


def asked_for(answers):
    """The names of the lazy inputs that a node wants, by what the calls of its check_lazy_status returned."""
    return {name for names in answers if isinstance(names, list) for name in names}
