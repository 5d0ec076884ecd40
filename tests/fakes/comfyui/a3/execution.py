"""Generation A3, 2026: as A2, with an asset manager, caches asked through coroutines, and interrupts that are
no Exceptions."""

import asyncio
import logging
import sys
import time
import traceback
from enum import Enum
from typing import Any, NamedTuple

import comfy.model_management
import nodes
import torch
from comfy_execution import inputs as node_inputs
from comfy_execution.caching import CacheSet
from comfy_execution.graph import DynamicPrompt, ExecutionBlocker, ExecutionList, is_link
from comfy_execution.graph_utils import GraphBuilder
from comfy_execution.results import format_inputs, full_type_name, resolve_subgraph, split_returns
from comfy_execution.tasks import call_node, finished, is_pending
from prompt_queue import PromptQueue  # noqa: F401


class ExecutionResult(Enum):
    SUCCESS = 0
    FAILURE = 1
    PENDING = 2


class CacheType(Enum):
    CLASSIC = 0
    NONE = 3


class CacheEntry(NamedTuple):
    ui: dict
    outputs: list


def get_input_data(inputs, class_def, unique_id, execution_list=None, dynprompt=None, extra_data={}):
    def output_of(node_id):
        entry = execution_list.get_cache(node_id, unique_id) if execution_list is not None else None
        return entry.outputs if entry is not None else None

    return node_inputs.input_data(inputs, class_def, unique_id, output_of) + ({},)


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
    v3_data=None,
):
    async def async_wrapper(f, prompt_id, unique_id, list_index, args):
        return await f(**args)

    def create_task(f, index, arguments):
        return asyncio.create_task(async_wrapper(f, prompt_id, unique_id, index, args=arguments))

    return await call_node(
        create_task, obj, input_data_all, func, allow_interrupt, execution_block_cb, pre_execute_cb
    )


async def get_output_data(
    prompt_id, unique_id, obj, input_data_all, execution_block_cb=None, pre_execute_cb=None, v3_data=None
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
        v3_data=v3_data,
    )
    if any(is_pending(value) for value in return_values):
        return return_values, {}, False, True
    return split_returns(finished(return_values), obj) + (False,)


async def execute(
    server,
    dynprompt: DynamicPrompt,
    caches: CacheSet,
    current_item: str,
    extra_data: dict,
    executed,
    prompt_id,
    execution_list,
    pending_subgraph_results,
    pending_async_nodes,
    ui_outputs,
    asset_manager: Any,
):
    unique_id = current_item
    real_node_id = dynprompt.get_real_node_id(unique_id)
    display_node_id = dynprompt.get_display_node_id(unique_id)
    parent_node_id = dynprompt.get_parent_node_id(unique_id)
    inputs = dynprompt.get_node(unique_id)["inputs"]
    class_type = dynprompt.get_node(unique_id)["class_type"]
    class_def = nodes.NODE_CLASS_MAPPINGS[class_type]
    cached = await caches.outputs.get(unique_id)
    if cached is not None:
        if cached.ui is not None:
            ui_outputs[unique_id] = cached.ui
        execution_list.cache_update(unique_id, cached)
        return (ExecutionResult.SUCCESS, None, None)

    input_data_all = None
    try:
        if unique_id in pending_async_nodes:
            results = finished(pending_async_nodes.pop(unique_id))
            output_data, output_ui, has_subgraph = split_returns(results, class_def)
        elif unique_id in pending_subgraph_results:
            cached_results = pending_subgraph_results.pop(unique_id)
            output_data = resolve_subgraph(
                cached_results, lambda n: execution_list.get_cache(n, unique_id).outputs
            )
            output_ui, has_subgraph = [], False
        else:
            input_data_all, missing_keys, v3_data = get_input_data(
                inputs, class_def, unique_id, execution_list, dynprompt, extra_data
            )
            if server.client_id is not None:
                server.last_node_id = display_node_id
                message = {"node": unique_id, "display_node": display_node_id, "prompt_id": prompt_id}
                server.send_sync("executing", message, server.client_id)
            obj = await caches.objects.get(unique_id)
            if obj is None:
                obj = class_def()
                await caches.objects.set(unique_id, obj)

            lazy_status_present = hasattr(obj, "check_lazy_status")
            if lazy_status_present:
                required_inputs = finished(
                    await _async_map_node_over_list(
                        prompt_id,
                        unique_id,
                        obj,
                        input_data_all,
                        "check_lazy_status",
                        allow_interrupt=True,
                        v3_data=v3_data,
                    )
                )
                required_inputs = {
                    name for names in required_inputs if isinstance(names, list) for name in names
                }
                required_inputs = [x for x in required_inputs if x not in input_data_all or x in missing_keys]
                if required_inputs:
                    for i in required_inputs:
                        execution_list.make_input_strong_link(unique_id, i)
                    return (ExecutionResult.PENDING, None, None)

            def execution_block_cb(block):
                if block.message is None:
                    return block
                message = {
                    "prompt_id": prompt_id,
                    "node_id": unique_id,
                    "node_type": class_type,
                    "executed": list(executed),
                    "exception_message": "Execution Blocked: " + block.message,
                    "exception_type": "ExecutionBlocked",
                    "traceback": [],
                    "current_inputs": [],
                    "current_outputs": [],
                }
                server.send_sync("execution_error", message, server.client_id)
                return ExecutionBlocker(None)

            def pre_execute_cb(call_index):
                GraphBuilder.set_default_prefix(unique_id, call_index, 0)

            output_data, output_ui, has_subgraph, has_pending_tasks = await get_output_data(
                prompt_id,
                unique_id,
                obj,
                input_data_all,
                execution_block_cb=execution_block_cb,
                pre_execute_cb=pre_execute_cb,
                v3_data=v3_data,
            )
            if has_pending_tasks:
                pending_async_nodes[unique_id] = output_data
                unblock = execution_list.add_external_block(unique_id)

                async def await_completion():
                    await asyncio.gather(*filter(is_pending, output_data), return_exceptions=True)
                    unblock()

                asyncio.create_task(await_completion())
                return (ExecutionResult.PENDING, None, None)

        if output_ui:
            ui_outputs[unique_id] = {
                "meta": {
                    "node_id": unique_id,
                    "display_node": display_node_id,
                    "parent_node": parent_node_id,
                    "real_node_id": real_node_id,
                },
                "output": output_ui,
            }
            if server.client_id is not None:
                message = {
                    "node": unique_id,
                    "display_node": display_node_id,
                    "output": output_ui,
                    "prompt_id": prompt_id,
                }
                server.send_sync("executed", message, server.client_id)
        if has_subgraph:
            cached_outputs, new_output_ids, new_output_links = [], [], []
            for i in range(len(output_data)):
                new_graph, node_outputs = output_data[i]
                cached_outputs.append((new_graph is not None, node_outputs))
                for node_id, node_info in (new_graph or {}).items():
                    display_id = node_info.get("override_display_id", unique_id)
                    dynprompt.add_ephemeral_node(node_id, node_info, unique_id, display_id)
                    class_type = node_info["class_type"]  # from here on the child's, as upstream
                    class_def = nodes.NODE_CLASS_MAPPINGS[class_type]
                    if getattr(class_def, "OUTPUT_NODE", False):
                        new_output_ids.append(node_id)
                new_output_links += [link for link in node_outputs if new_graph is not None and is_link(link)]
            for node_id in new_output_ids:
                execution_list.add_node(node_id)
            for link in new_output_links:
                execution_list.add_strong_link(link[0], link[1], unique_id)
            pending_subgraph_results[unique_id] = cached_outputs
            return (ExecutionResult.PENDING, None, None)
        cache_entry = CacheEntry(ui=ui_outputs.get(unique_id), outputs=output_data)
        execution_list.cache_update(unique_id, cache_entry)
        await caches.outputs.set(unique_id, cache_entry)
    except comfy.model_management.InterruptProcessingException as iex:
        logging.info("Processing interrupted")
        return (ExecutionResult.FAILURE, {"node_id": real_node_id}, iex)
    except Exception as ex:
        typ, _, tb = sys.exc_info()
        exception_type = full_type_name(typ)
        input_data_formatted = format_inputs(input_data_all)
        logging.error("!!! Exception during processing !!! %s", ex)
        logging.error(traceback.format_exc())
        tips = ""
        if isinstance(ex, comfy.model_management.OOM_EXCEPTION):
            tips = "This error means you ran out of memory on your GPU."
            logging.error("Got an OOM, unloading all loaded models.")
            comfy.model_management.unload_all_models()
        error_details = {
            "node_id": real_node_id,
            "exception_message": "%s\n%s" % (ex, tips),
            "exception_type": exception_type,
            "traceback": traceback.format_tb(tb),
            "current_inputs": input_data_formatted,
        }
        return (ExecutionResult.FAILURE, error_details, ex)

    executed.add(unique_id)
    return (ExecutionResult.SUCCESS, None, None)


class PromptExecutor:
    def __init__(self, server, cache_type=False, cache_args=None, asset_manager=None):
        self.cache_args = cache_args
        self.cache_type = cache_type
        self.asset_manager = asset_manager
        self.server = server
        self.reset()

    def reset(self):
        self.caches = CacheSet(none=self.cache_type == CacheType.NONE)
        self.status_messages = []
        self.success = True

    def add_message(self, event, data: dict, broadcast: bool):
        data = dict(data, timestamp=int(time.time() * 1000))
        self.status_messages.append((event, data))
        if self.server.client_id is not None or broadcast:
            self.server.send_sync(event, data, self.server.client_id)

    def handle_execution_error(self, prompt_id, prompt, current_outputs, executed, error, ex):
        node_id = error["node_id"]
        message = {
            "prompt_id": prompt_id,
            "node_id": node_id,
            "node_type": prompt[node_id]["class_type"],
            "executed": list(executed),
        }
        if isinstance(ex, comfy.model_management.InterruptProcessingException):
            self.add_message("execution_interrupted", message, broadcast=True)
        else:
            message.update(error, current_outputs=list(current_outputs))
            self.add_message("execution_error", message, broadcast=False)

    def _notify_prompt_lifecycle(self, event, prompt_id):
        pass

    def execute(self, prompt, prompt_id, extra_data={}, execute_outputs=[]):
        asyncio.run(self.execute_async(prompt, prompt_id, extra_data, execute_outputs))

    async def execute_async(self, prompt, prompt_id, extra_data={}, execute_outputs=[]):
        self.cache_args["ram"]  # not optional here
        nodes.interrupt_processing(False)
        self.server.client_id = extra_data.get("client_id")
        self.status_messages = []
        self.add_message("execution_start", {"prompt_id": prompt_id}, broadcast=False)
        self._notify_prompt_lifecycle("start", prompt_id)

        with torch.inference_mode():
            dynamic_prompt = DynamicPrompt(prompt)
            for cache in self.caches.all:
                cache.set_prompt(dynamic_prompt, prompt.keys())
            cached_nodes = []
            for node_id in prompt:
                if await self.caches.outputs.get(node_id) is not None:
                    cached_nodes.append(node_id)
            self.add_message(
                "execution_cached", {"nodes": cached_nodes, "prompt_id": prompt_id}, broadcast=False
            )
            pending_subgraph_results = {}
            pending_async_nodes = {}
            ui_node_outputs = {}
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
                    ui_node_outputs,
                    self.asset_manager,
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

            self.history_result = {
                "outputs": {node_id: entry["output"] for node_id, entry in ui_node_outputs.items()},
                "meta": {node_id: entry["meta"] for node_id, entry in ui_node_outputs.items()},
            }
            self.server.last_node_id = None
            self._notify_prompt_lifecycle("end", prompt_id)
