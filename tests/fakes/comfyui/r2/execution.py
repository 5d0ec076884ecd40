"""Generation R2, 2023-05-13 to 2023-05-25: prompt ids and requested outputs reach the executor; errors are
still raised."""

import copy
import traceback

import comfy.model_management
import nodes
import recursion
import torch
from comfy_execution.results import calls_of, split_returns
from prompt_queue import PromptQueue  # noqa: F401


def get_input_data(inputs, class_def, unique_id, outputs={}, prompt={}, extra_data={}):
    return recursion.input_data(inputs, class_def, unique_id, outputs)


def map_node_over_list(obj, input_data_all, func):
    results = []
    for arguments in calls_of(input_data_all):
        nodes.before_node_execution()
        results.append(getattr(obj, func)(**arguments))
    return results


def get_output_data(obj, input_data_all):
    output, ui, _ = split_returns(map_node_over_list(obj, input_data_all, obj.FUNCTION), obj)
    return output, ui


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
    if server.client_id is not None:
        server.last_node_id = unique_id
        server.send_sync("executing", {"node": unique_id, "prompt_id": prompt_id}, server.client_id)
    obj = class_def()
    output_data, output_ui = get_output_data(obj, input_data_all)
    outputs[unique_id] = output_data
    if output_ui:
        outputs_ui[unique_id] = output_ui
        if server.client_id is not None:
            message = {"node": unique_id, "output": output_ui, "prompt_id": prompt_id}
            server.send_sync("executed", message, server.client_id)
    executed.add(unique_id)


def recursive_will_execute(prompt, outputs, current_item):
    return recursion.will_execute(prompt, outputs, current_item)


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
            for gone in [o for o in self.outputs_ui if o not in current_outputs]:
                del self.outputs_ui[gone]
            self._send("execution_cached", {"nodes": list(current_outputs), "prompt_id": prompt_id})
            executed = set()
            try:
                to_execute = list(execute_outputs)
                while to_execute:
                    to_execute.sort(key=lambda x: (recursive_will_execute(prompt, self.outputs, x), x))
                    x = to_execute.pop(0)
                    recursive_execute(
                        self.server,
                        prompt,
                        self.outputs,
                        x,
                        extra_data,
                        executed,
                        prompt_id,
                        self.outputs_ui,
                    )
            except Exception as e:
                if isinstance(e, comfy.model_management.InterruptProcessingException):
                    print("Processing interrupted", flush=True)
                else:
                    message = traceback.format_exc()
                    print(message, flush=True)
                    self._send("execution_error", {"message": message, "prompt_id": prompt_id})
                for gone in [o for o in self.outputs if o not in current_outputs and o not in executed]:
                    self.old_prompt.pop(gone, None)
                    del self.outputs[gone]
            finally:
                for x in executed:
                    self.old_prompt[x] = copy.deepcopy(prompt[x])
                self.server.last_node_id = None
                self._send("executing", {"node": None, "prompt_id": prompt_id})
