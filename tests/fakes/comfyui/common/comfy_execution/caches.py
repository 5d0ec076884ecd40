"""The output caches. A node's key is a digest of its class type and of everything that leads to it."""

import hashlib
from enum import Enum
from typing import NamedTuple

import nodes

from comfy_execution.graph_utils import is_link


class CacheType(Enum):
    CLASSIC = 0
    LRU = 1
    NONE = 3


class CacheEntry(NamedTuple):
    ui: dict
    outputs: list


class BasicCache:
    """Keeps what belongs to nodes of the present prompt, under their input signatures."""

    def __init__(self):
        self.dynprompt = None
        self._entries = {}
        self._digests = {}

    def set_prompt(self, dynprompt, node_ids):
        self.dynprompt = dynprompt
        self._digests = {}
        wanted = {self._key(node_id) for node_id in node_ids}
        self._entries = {key: value for key, value in self._entries.items() if key in wanted}

    def get(self, node_id):
        return self._entries.get(self._key(node_id))

    def set(self, node_id, value):
        self._entries[self._key(node_id)] = value

    def all_node_ids(self):
        """The nodes of the present prompt that have an entry."""
        return {node_id for node_id in self.dynprompt.all_node_ids() if self._key(node_id) in self._entries}

    def _key(self, node_id):
        raise NotImplementedError


class SignatureCache(BasicCache):
    def _key(self, node_id):
        if node_id not in self._digests:
            self._digests[node_id] = ""  # a cycle stays open: it is the scheduler's business
            node = self.dynprompt.get_node(node_id)
            class_def = nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
            parts = [node["class_type"], getattr(class_def, "IS_CHANGED", lambda: "")()]
            if "UNIQUE_ID" in class_def.INPUT_TYPES().get("hidden", {}).values():
                parts.append(node_id)
            for name, value in sorted(node["inputs"].items()):
                parts.append((name, self._key(value[0]) + str(value[1]) if is_link(value) else repr(value)))
            text = repr(parts).encode("utf-8", "surrogatepass")
            self._digests[node_id] = hashlib.sha1(text).hexdigest()
        return self._digests[node_id]


class LruCache(SignatureCache):
    """--cache-lru N: forgets the results that were not used for longest, in the middle of a run too."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def get(self, node_id):
        entry = self._entries.pop(self._key(node_id), None)
        if entry is not None:
            self._entries[self._key(node_id)] = entry
        return entry

    def set(self, node_id, value):
        super().set(node_id, value)
        while len(self._entries) > self.size:
            del self._entries[next(iter(self._entries))]


def of_outputs(cache_type, cache_args):
    if cache_type == CacheType.NONE:
        return NullCache()
    return LruCache(cache_args["lru"]) if cache_type == CacheType.LRU else SignatureCache()


class IdCache(BasicCache):
    def _key(self, node_id):
        return (node_id, self.dynprompt.get_node(node_id)["class_type"])


class NullCache:
    """--cache-none: remembers nothing."""

    def set_prompt(self, dynprompt, node_ids):
        pass

    def get(self, node_id):
        return None

    def set(self, node_id, value):
        pass

    def all_node_ids(self):
        return set()
