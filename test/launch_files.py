"""Arguments of the launch files, read without launch, which not every machine has."""

import ast
from xml.etree import ElementTree


def declared_arguments(path):
    """Name to default and allowed values (None: any) of each argument that a launch file declares itself."""
    if path.name.endswith(".launch.xml"):
        arguments = ElementTree.parse(path).getroot().findall("arg")
        return {arg.get("name"): (arg.get("default"), None) for arg in arguments}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lists = {
        node.targets[0].id if isinstance(node, ast.Assign) else node.target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
    }
    found = {}
    for row in lists["ARGUMENTS"].elts:
        name, default, _, choices = row.elts
        found[name.value] = (
            default.value if isinstance(default, ast.Constant) else None,
            _choices(choices, lists),
        )
    return found


def all_arguments(path):
    """Those of a launch file and of the one it includes, which the command line may set as well."""
    own = declared_arguments(path)
    included = [] if path.name == "fusion.launch.py" else [path.with_name("fusion.launch.py")]
    return {**{k: v for file in included for k, v in declared_arguments(file).items()}, **own}


def _choices(node, lists):
    if isinstance(node, ast.Constant):
        return None
    values = lists[node.id].elts if isinstance(node, ast.Name) else node.elts
    found = []
    for value in values:
        found += _choices(value.value, lists) if isinstance(value, ast.Starred) else [value.value]
    return found
