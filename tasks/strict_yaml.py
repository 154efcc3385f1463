"""YAML for files that decide: a key written twice is an error, where pyyaml alone would keep the last."""

from collections import Counter
from typing import Any

import yaml


class StrictLoader(yaml.SafeLoader):
    """Plain values only, and every key once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted(str(key) for key, count in Counter(keys).items() if count > 1)
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"key written twice: {', '.join(twice)}", node.start_mark
            )
        return super().construct_mapping(node, deep)
