"""Generation A1, from 2025-07-10 (0.3.45): the executor as coroutines, nodes may be coroutines too."""

import asyncio
import logging
import sys

import comfy.model_management
import failures
import messages
import nodes
import torch
from comfy_execution import expansion
from comfy_execution import inputs as node_inputs
from comfy_execution.caching import CacheSet
from comfy_execution.graph import DynamicPrompt, ExecutionList
from comfy_execution.graph_utils import GraphBuilder
from comfy_execution.results import ExecutionResult, history_result, split_returns, ui_entry
from comfy_execution.tasks import call_node, call_when_finished, finished, is_pending
from prompt_queue import PromptQueue  # noqa: F401


def get_input_data(inputs, class_def, unique_id, outputs=None, dynprompt=None, extra_data={}):
    return node_inputs.input_data(inputs, class_def, unique_id, outputs.get) + ({},)


map_node_over_list = None  # Don't hook this please


async def _async_map_node_over_list(
    prompt_id,
    unique_id,
    obj,
    input_data_all,
    func,
    allow_interrupt=False,
    execution_block_cb=None,
    pre_execute_cb=None,
    hidden_inputs=None,
):
    def create_task(f, index, arguments):
        async def async_wrapper(f, prompt_id, unique_id, list_index, args):
            return await f(**args)

        return asyncio.create_task(async_wrapper(f, prompt_id, unique_id, index, args=arguments))

    return await call_node(
        create_task, obj, input_data_all, func, allow_interrupt, execution_block_cb, pre_execute_cb
    )


async def get_output_data(
    prompt_id,
    unique_id,
    obj,
    input_data_all,
    execution_block_cb=None,
    pre_execute_cb=None,
    hidden_inputs=None,
):
    return_values = await _async_map_node_over_list(
        prompt_id,
        unique_id,
        obj,
        input_data_all,
        obj.FUNCTION,
        allow_interrupt=True,
        execution_block_cb=execution_block_cb,
        pre_execute_cb=pre_execute_cb,
        hidden_inputs=hidden_inputs,
    )
    if any(is_pending(value) for value in return_values):
        return return_values, {}, False, True
    return split_returns(finished(return_values), obj) + (False,)


async def execute(
    server,
    dynprompt,
    caches,
    current_item,
    extra_data,
    executed,
    prompt_id,
    execution_list,
    pending_subgraph_results,
    pending_async_nodes,
):
    unique_id = current_item
    real_node_id = dynprompt.get_real_node_id(unique_id)
    display_node_id = dynprompt.get_display_node_id(unique_id)
    parent_node_id = dynprompt.get_parent_node_id(unique_id)
    inputs = dynprompt.get_node(unique_id)["inputs"]
    class_type = dynprompt.get_node(unique_id)["class_type"]
    class_def = nodes.NODE_CLASS_MAPPINGS[class_type]
    if caches.outputs.get(unique_id) is not None:
        cached_ui = (caches.ui.get(unique_id) or {}).get("output")
        messages.executed(server, unique_id, cached_ui, display_node=display_node_id, prompt_id=prompt_id)
        return (ExecutionResult.SUCCESS, None, None)

    input_data_all = None
    try:
        if unique_id in pending_async_nodes:
            results = finished(pending_async_nodes.pop(unique_id))
            output_data, output_ui, has_subgraph = split_returns(results, class_def)
        elif unique_id in pending_subgraph_results:
            cached_results = pending_subgraph_results[unique_id]
            output_data = expansion.resolve(cached_results, caches.outputs.get)
            output_ui, has_subgraph = [], False
        else:
            input_data_all, missing_keys, hidden_inputs = get_input_data(
                inputs, class_def, unique_id, caches.outputs, dynprompt, extra_data
            )
            messages.executing(server, unique_id, display_node=display_node_id, prompt_id=prompt_id)
            obj = caches.objects.get(unique_id)
            if obj is None:
                obj = class_def()
                caches.objects.set(unique_id, obj)

            if hasattr(obj, "check_lazy_status"):
                required_inputs = finished(
                    await _async_map_node_over_list(
                        prompt_id,
                        unique_id,
                        obj,
                        input_data_all,
                        "check_lazy_status",
                        allow_interrupt=True,
                        hidden_inputs=hidden_inputs,
                    )
                )
                required_inputs = node_inputs.asked_for(required_inputs)
                required_inputs = [x for x in required_inputs if x not in input_data_all or x in missing_keys]
                for i in required_inputs:
                    execution_list.make_input_strong_link(unique_id, i)
                if required_inputs:
                    return (ExecutionResult.PENDING, None, None)

            def execution_block_cb(block):
                return messages.blocked(block, server, prompt_id, unique_id, class_type, executed)

            def pre_execute_cb(call_index):
                GraphBuilder.set_default_prefix(unique_id, call_index, 0)

            output_data, output_ui, has_subgraph, has_pending_tasks = await get_output_data(
                prompt_id,
                unique_id,
                obj,
                input_data_all,
                execution_block_cb=execution_block_cb,
                pre_execute_cb=pre_execute_cb,
                hidden_inputs=hidden_inputs,
            )
            if has_pending_tasks:
                pending_async_nodes[unique_id] = output_data
                call_when_finished(output_data, execution_list.add_external_block(unique_id))
                return (ExecutionResult.PENDING, None, None)

        if output_ui:
            entry = ui_entry(unique_id, display_node_id, parent_node_id, real_node_id, output_ui)
            caches.ui.set(unique_id, entry)
            messages.executed(server, unique_id, output_ui, display_node=display_node_id, prompt_id=prompt_id)
        if has_subgraph:
            pending_subgraph_results[unique_id] = expansion.start(
                dynprompt, execution_list, unique_id, output_data
            )
            for _, node_info in expansion.new_nodes(output_data):
                class_type = node_info["class_type"]  # from here on the child's, as upstream
            return (ExecutionResult.PENDING, None, None)
        caches.outputs.set(unique_id, output_data)
    except comfy.model_management.InterruptProcessingException as iex:
        logging.info("Processing interrupted")
        return (ExecutionResult.FAILURE, {"node_id": real_node_id}, iex)
    except Exception as ex:
        typ, _, tb = sys.exc_info()
        error_details = failures.logged(real_node_id, ex, typ, tb, input_data_all)
        return (ExecutionResult.FAILURE, error_details, ex)

    executed.add(unique_id)
    return (ExecutionResult.SUCCESS, None, None)


class PromptExecutor(messages.StatusMessages):
    def __init__(self, server, cache_type=False, cache_size=None):
        self.cache_size = cache_size
        self.cache_type = cache_type
        self.server = server
        self.reset()

    def reset(self):
        self.caches = CacheSet()
        self.status_messages = []
        self.success = True

    def execute(self, prompt, prompt_id, extra_data={}, execute_outputs=[]):
        asyncio.run(self.execute_async(prompt, prompt_id, extra_data, execute_outputs))

    async def execute_async(self, prompt, prompt_id, extra_data={}, execute_outputs=[]):
        self.start(prompt_id, extra_data)

        with torch.inference_mode():
            dynamic_prompt = DynamicPrompt(prompt)
            for cache in self.caches.all:
                cache.set_prompt(dynamic_prompt, prompt.keys())
            cached_nodes = []
            for node_id in prompt:
                if self.caches.outputs.get(node_id) is not None:
                    cached_nodes.append(node_id)
            self.add_cached(prompt_id, cached_nodes)
            pending_subgraph_results = {}
            pending_async_nodes = {}
            executed = set()
            execution_list = ExecutionList(dynamic_prompt, self.caches.outputs)
            current_outputs = self.caches.outputs.all_node_ids()
            for node_id in list(execute_outputs):
                execution_list.add_node(node_id)

            while not execution_list.is_empty():
                node_id, error, ex = await execution_list.stage_node_execution()
                if error is not None:
                    self.handle_execution_error(
                        prompt_id, dynamic_prompt.original_prompt, current_outputs, executed, error, ex
                    )
                    break
                result, error, ex = await execute(
                    self.server,
                    dynamic_prompt,
                    self.caches,
                    node_id,
                    extra_data,
                    executed,
                    prompt_id,
                    execution_list,
                    pending_subgraph_results,
                    pending_async_nodes,
                )
                self.success = result != ExecutionResult.FAILURE
                if result == ExecutionResult.FAILURE:
                    self.handle_execution_error(
                        prompt_id, dynamic_prompt.original_prompt, current_outputs, executed, error, ex
                    )
                    break
                elif result == ExecutionResult.PENDING:
                    execution_list.unstage_node_execution()
                else:
                    execution_list.complete_node_execution()
            else:
                self.add_message("execution_success", {"prompt_id": prompt_id}, broadcast=False)

            ui_entries = {node_id: self.caches.ui.get(node_id) for node_id in self.caches.ui.all_node_ids()}
            self.history_result = history_result(ui_entries)
            self.server.last_node_id = None
