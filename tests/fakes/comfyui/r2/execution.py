"""Generation R2, 2023-05-13 to 2023-05-25: prompt ids and requested outputs reach the executor; errors are
still raised."""

import copy
import traceback

import comfy.model_management
import messages
import nodes
import recursion
import torch
from prompt_queue import PromptQueue  # noqa: F401
from recursion import get_input_data, get_output_data, recursive_will_execute


def recursive_execute(server, prompt, outputs, current_item, extra_data, executed, prompt_id, outputs_ui):
    unique_id = current_item
    inputs = prompt[unique_id]["inputs"]
    class_type = prompt[unique_id]["class_type"]
    class_def = nodes.NODE_CLASS_MAPPINGS[class_type]
    if unique_id in outputs:
        return

    for x in inputs:
        if isinstance(inputs[x], list) and inputs[x][0] not in outputs:
            recursive_execute(
                server, prompt, outputs, inputs[x][0], extra_data, executed, prompt_id, outputs_ui
            )

    input_data_all = get_input_data(inputs, class_def, unique_id, outputs, prompt, extra_data)
    messages.executing(server, unique_id, prompt_id=prompt_id)
    obj = class_def()
    output_data, output_ui = get_output_data(obj, input_data_all)
    outputs[unique_id] = output_data
    if output_ui:
        outputs_ui[unique_id] = output_ui
        messages.executed(server, unique_id, output_ui, prompt_id=prompt_id)
    executed.add(unique_id)


class PromptExecutor:
    def __init__(self, server):
        self.outputs = {}
        self.outputs_ui = {}
        self.old_prompt = {}
        self.server = server

    def _send(self, event, data):
        if self.server.client_id is not None:
            self.server.send_sync(event, data, self.server.client_id)

    def execute(self, prompt, prompt_id, extra_data={}, execute_outputs=[]):
        nodes.interrupt_processing(False)
        self.server.client_id = extra_data.get("client_id")
        self._send("execution_start", {"prompt_id": prompt_id})

        with torch.inference_mode():
            recursion.delete_stale(prompt, self.old_prompt, self.outputs)
            current_outputs = set(self.outputs)
            recursion.keep_only(self.outputs_ui, current_outputs)
            self._send("execution_cached", {"nodes": list(current_outputs), "prompt_id": prompt_id})
            executed = set()
            try:
                to_execute = list(execute_outputs)
                while to_execute:
                    to_execute.sort(key=lambda x: (recursive_will_execute(prompt, self.outputs, x), x))
                    x = to_execute.pop(0)
                    recursive_execute(
                        self.server, prompt, self.outputs, x, extra_data, executed, prompt_id, self.outputs_ui
                    )
            except Exception as e:
                if isinstance(e, comfy.model_management.InterruptProcessingException):
                    print("Processing interrupted", flush=True)
                else:
                    message = traceback.format_exc()
                    print(message, flush=True)
                    self._send("execution_error", {"message": message, "prompt_id": prompt_id})
                recursion.forget_unfinished(self.outputs, self.old_prompt, current_outputs | executed)
            finally:
                for x in executed:
                    self.old_prompt[x] = copy.deepcopy(prompt[x])
                self.server.last_node_id = None
                self._send("executing", {"node": None, "prompt_id": prompt_id})
