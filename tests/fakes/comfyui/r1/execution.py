"""Generation R1, 2023-04-23 to 2023-05-13: as R0, but the executed nodes are collected in a set."""

import copy
import traceback

import messages
import nodes
import recursion
import torch
from prompt_queue import PromptQueue  # noqa: F401
from recursion import recursive_will_execute


def get_input_data(inputs, class_def, unique_id, outputs={}, prompt={}, extra_data={}):
    return recursion.single_inputs(inputs, class_def, unique_id, outputs)


def recursive_execute(server, prompt, outputs, current_item, extra_data, executed):
    unique_id = current_item
    inputs = prompt[unique_id]["inputs"]
    class_type = prompt[unique_id]["class_type"]
    class_def = nodes.NODE_CLASS_MAPPINGS[class_type]
    if unique_id in outputs:
        return

    for x in inputs:
        if isinstance(inputs[x], list) and inputs[x][0] not in outputs:
            recursive_execute(server, prompt, outputs, inputs[x][0], extra_data, executed)

    input_data_all = get_input_data(inputs, class_def, unique_id, outputs, prompt, extra_data)
    messages.executing(server, unique_id)
    obj = class_def()
    nodes.before_node_execution()
    outputs[unique_id] = getattr(obj, obj.FUNCTION)(**input_data_all)
    if "ui" in outputs[unique_id]:
        messages.executed(server, unique_id, outputs[unique_id]["ui"])
    executed.add(unique_id)


class PromptExecutor:
    def __init__(self, server):
        self.outputs = {}
        self.old_prompt = {}
        self.server = server

    def execute(self, prompt, extra_data={}):
        nodes.interrupt_processing(False)
        self.server.client_id = extra_data.get("client_id")

        with torch.inference_mode():
            recursion.delete_stale(prompt, self.old_prompt, self.outputs)
            current_outputs = set(self.outputs)
            executed = set()
            try:
                to_execute = [x for x in prompt if recursion.is_output(prompt[x])]
                while to_execute:
                    to_execute.sort(key=lambda x: (recursive_will_execute(prompt, self.outputs, x), x))
                    x = to_execute.pop(0)
                    recursive_execute(self.server, prompt, self.outputs, x, extra_data, executed)
            except Exception:
                print(traceback.format_exc(), flush=True)
                recursion.forget_unfinished(self.outputs, self.old_prompt, current_outputs | executed)
            finally:
                for x in executed:
                    self.old_prompt[x] = copy.deepcopy(prompt[x])
                self.server.last_node_id = None
                if self.server.client_id is not None:
                    self.server.send_sync("executing", {"node": None}, self.server.client_id)
