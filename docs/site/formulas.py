"""The formulas of the docstrings, which are written as code, set in mathematics: `m = beta1*m + (1-beta1)*g`."""

import ast
import re

GREEK = "alpha beta gamma eta rho mu nu"
NAMES = {"eps": r"\varepsilon", "lambd": r"\lambda"} | {name: "\\" + name for name in GREEK.split()}
FUNCTIONS = {"min": r"\min", "max": r"\max"} | {
    name: rf"\mathrm{{{name}}}" for name in ("clip", "mean", "rms", "sign", "sum", "loss")
}
COMPARISONS = {ast.Eq: "=", ast.LtE: r"\leq", ast.Gt: ">", ast.Lt: "<", ast.GtE: r"\geq"}
SUM, PRODUCT, POWER, ATOM = range(4)  # how tightly a piece holds together

#: what the docstrings say in words, as functions that `Tex` knows
PHRASES = [
    (r"\(mean of (\S+) along a (row|column)\)", r"along(\1, \2)"),
    (r"mean of (\w+)", r"mean(\1)"),
    (r"(\w+) so far", r"so_far(\1)"),
    (r"\|([^|]+)\|", r"norm(\1)"),
    (r"(\w)'", r"transposed(\1)"),
]


def align(block: str) -> str:
    """Return a block of formulas, a line each, as LaTeX; what stands behind two blanks is a remark."""
    return "\\begin{aligned}\n" + " \\\\\n".join(map(line, block.strip().splitlines())) + "\n\\end{aligned}"


def line(text: str) -> str:
    """Return one line: its formula, and its remark."""
    formula, _, remark = text.strip().partition("  ")
    tex, aligned = re.subn(r" (\\leftarrow|=) ", r" &\1 ", equations(formula), count=1)
    tex = tex if aligned else f"& {tex}"
    return tex + (rf" &\quad& {words(remark.strip())}" if remark else "")


def words(text: str) -> str:
    """Return a remark: a formula if it is one, perhaps behind a word and a colon or between commas."""
    before, colon, after = text.partition(": ")
    if colon:
        return rf"\text{{{before}: }} {words(after)}"
    condition = text.removeprefix("if ")
    value = re.fullmatch(r"(.+?)((?:, if|,? without| in) .+)", text)
    try:
        if value:
            return rf"{equations(value[1])} \text{{{value[2]}}}"
        return (r"\text{if } " if condition != text else "") + equations(condition)
    except SyntaxError:
        return rf"\text{{{text}}}"


def equations(text: str) -> str:
    """Return one equation, or several that are divided by commas; words instead of a value stay words."""
    for pattern, call in PHRASES:
        text = re.sub(pattern, call, text)
    pieces = re.split(r", (?=\w+ = )", text)
    if len(pieces) > 1:
        return r",\quad ".join(map(equations, pieces))
    name, equals, value = text.partition(" = ")
    if equals and not name.isidentifier():  # sign(0) = 0: no assignment
        text = f"{name} == {value}"
    try:
        (statement,) = ast.parse(text).body
    except SyntaxError:
        if not equals:
            raise
        return rf"{Tex().visit(ast.Name(name))} = \text{{{value}}}"
    return Tex().visit(statement)


class Tex(ast.NodeVisitor):
    """Sets Python's expressions in LaTeX."""

    def inside(self, node: ast.AST, at_least: int) -> str:
        """Return a piece, in brackets where it holds together less than its surroundings."""
        tex = self.visit(node)
        return tex if self.strength(node) >= at_least else rf"\left({tex}\right)"

    def strength(self, node: ast.AST) -> int:
        if isinstance(node, ast.BinOp):
            kinds = {ast.Add: SUM, ast.Sub: SUM, ast.Div: PRODUCT, ast.Pow: POWER}
            return kinds.get(type(node.op), PRODUCT)
        return PRODUCT if isinstance(node, ast.UnaryOp) else ATOM

    def generic_visit(self, node):
        raise SyntaxError(f"no mathematics for {ast.dump(node)}")

    def visit_Expr(self, node):
        return self.visit(node.value)

    def visit_Assign(self, node):
        (target,) = node.targets
        again = any(isinstance(part, ast.Name) and part.id == target.id for part in ast.walk(node.value))
        becomes = r"\leftarrow" if again else "="
        return rf"{self.visit(target)} {becomes} {self.visit(node.value)}"

    def visit_Name(self, node):
        name, _, index = node.id.partition("_")
        letters, digit = re.fullmatch(r"(.*?)(\d*)", name).groups()
        known = letters in NAMES or (len(letters) == 1 and len(node.id) > 1)
        if known and not (digit and index):
            letters, index = NAMES.get(letters, letters), index or digit
            index = r"\infty" if index == "inf" else index if index.isdigit() else rf"\mathrm{{{escape(index)}}}"
            return f"{letters}_{{{index}}}" if index not in ("", r"\mathrm{}") else letters
        return node.id if len(node.id) == 1 else rf"\mathrm{{{escape(node.id)}}}"

    def visit_Constant(self, node):
        mantissa, exponent, power = repr(node.value).partition("e")
        if not exponent and isinstance(node.value, float) and node.value < 0.01:
            mantissa, power = "1", f"{node.value:.0e}".partition("e")[2]
        return rf"10^{{{int(power)}}}" if power else mantissa

    def visit_UnaryOp(self, node):
        return f"-{self.inside(node.operand, PRODUCT)}"

    def visit_Compare(self, node):
        (op,), (right,) = node.ops, node.comparators
        return f"{self.visit(node.left)} {COMPARISONS[type(op)]} {self.visit(right)}"

    def visit_IfExp(self, node):
        rows = []
        while isinstance(node, ast.IfExp):
            rows.append(rf"{self.visit(node.body)} & \text{{if }} {self.visit(node.test)}")
            node = node.orelse
        rows.append(rf"{self.visit(node)} & \text{{otherwise}}")
        return r"\begin{cases}" + r" \\ ".join(rows) + r"\end{cases}"

    def visit_BinOp(self, node):
        match node.op:
            case ast.Add():
                return f"{self.visit(node.left)} + {self.visit(node.right)}"
            case ast.Sub():
                return f"{self.visit(node.left)} - {self.inside(node.right, PRODUCT)}"
            case ast.Div():
                return rf"\frac{{{self.visit(node.left)}}}{{{self.visit(node.right)}}}"
            case ast.Pow():
                return f"{self.inside(node.left, ATOM)}^{{{self.visit(node.right)}}}"
            case ast.MatMult():
                return rf"{self.inside(node.left, PRODUCT)}^\top {self.inside(node.right, PRODUCT)}"
            case _:
                return self.product(node)

    def product(self, node: ast.BinOp) -> str:
        """Return factors side by side; the same one twice is a square."""
        factors = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            factors.insert(0, node.right)
            node = node.left
        texts = [self.inside(factor, PRODUCT) for factor in [node, *factors]]
        pieces: list[str] = []
        for text in texts:
            pieces = [*pieces[:-1], f"{text}^2"] if pieces and pieces[-1] == text else [*pieces, text]
        return r"\,".join(pieces)

    def visit_Call(self, node):
        values = [self.visit(value) for value in node.args]
        match node.func.id:
            case "sqrt":
                return rf"\sqrt{{{values[0]}}}"
            case "cbrt":
                return rf"\sqrt[3]{{{values[0]}}}"
            case "norm":
                return rf"\left|{values[0]}\right|"
            case "so_far":
                return rf"{values[0]}_{{1 \ldots t}}"
            case "transposed":
                return rf"{values[0]}^\top"
            case "along":
                return rf"\mathrm{{mean}}_{{{values[1]}}}\left({values[0]}\right)"
        name = FUNCTIONS.get(node.func.id) or self.visit(node.func)
        return rf"{name}\left({', '.join(values)}\right)"


def escape(name: str) -> str:
    return name.replace("_", r"\_")
