"""Turns filter text into a program: closures that decide about one message in a few microseconds.

`load` compiles files, the pipeline runs programs, an operator's `filters` command shows what is in them. All
faults of a text, of syntax and of meaning, come in one `FilterError`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TypeAlias

from core.maillog import clean
from core.record import Decision
from mail.filter.action import ACTION_NAMES, ANYWHERE, Around, Step, compile_action
from mail.filter.parser import RESERVED, parse
from mail.filter.rule import RULE_NAMES, Compiled, Faults, Predicate, compile_test
from mail.filter.syntax import Action, All, Branch, Condition, Filter, FilterError, FilterFault, Not, Rule, Statement
from mail.filter.view import View

STAGE = "message-filters"
Decide: TypeAlias = Callable[[Decision], None]
CompileTest: TypeAlias = Callable[[Condition, Faults], Compiled | None]


@dataclass(frozen=True, slots=True)
class RunningFilter:
    """One filter, ready to run."""

    name: str
    active: bool
    run: Step


class Program:
    """All filters of a machine, in order."""

    def __init__(self, filters: Sequence[RunningFilter]) -> None:
        self.filters = tuple(filters)
        self._active = tuple((item.name, item.run) for item in filters if item.active)

    def run(self, view: View, decide: Decide, *, every: bool = False) -> None:
        """Run the active filters until a final action; `decide` gets one record for each that acted.

        With `every`, filters that did not act are recorded too (trace), and each record has its own time.
        """
        for name, run in self._active:
            started = perf_counter_ns() if every else 0
            view.begin(name)
            stop = run(view)
            if view.actions or every:
                spent = (perf_counter_ns() - started) // 1000 if every else 0
                verdict = "; ".join(view.actions) or ("matched" if view.matched else "no action")
                decide(Decision(STAGE, name, clean(view.matched_text()), verdict, spent))
            if stop:
                return


def compile_filters(text: str, *, around: Around = ANYWHERE, taken: Iterable[str] = ()) -> Program:
    """Compile a text; names in `taken` are in use elsewhere. Raises `FilterError` with all faults."""
    parsed = parse(text)
    faults = parsed.faults
    running: list[RunningFilter] = []
    names = {name.lower() for name in taken}
    for item in parsed.filters:
        _check_name(item, names, faults)
        names.add(item.name.lower())
        step = _branch(item.branch, around, faults)
        if step is not None:
            running.append(RunningFilter(item.name, item.active, step))
    if faults:
        raise FilterError(faults)
    return Program(running)


def _check_name(item: Filter, names: set[str], faults: Faults) -> None:
    name = item.name.lower()
    if name in RESERVED or name in RULE_NAMES or name in ACTION_NAMES:
        faults.append(FilterFault(item.position, f"'{item.name}' is a reserved word and cannot name a filter"))
    elif name in names:
        faults.append(FilterFault(item.position, f"there is already a filter '{item.name}'"))
    elif len(name) > 100:
        faults.append(FilterFault(item.position, "a filter name has at most 100 characters"))


def _branch(branch: Branch, around: Around, faults: Faults) -> Step | None:
    rule = compile_rule(branch.rule, faults)
    then = _block(branch.then, around, faults)
    otherwise = _block(branch.otherwise, around, faults)
    if rule is None or then is None or otherwise is None:
        return None
    test = rule.run
    if not branch.otherwise:
        return lambda view: test(view) and then(view)
    return lambda view: then(view) if test(view) else otherwise(view)


def _block(statements: Sequence[Statement], around: Around, faults: Faults) -> Step | None:
    made = [_statement(statement, around, faults) for statement in statements]
    steps = tuple(step for step in made if step is not None)
    if len(steps) < len(made):
        return None
    if len(steps) == 1:
        return steps[0]
    return lambda view: any(step(view) for step in steps)


def _statement(statement: Statement, around: Around, faults: Faults) -> Step | None:
    if isinstance(statement, Action):
        return compile_action(statement, around, faults)
    return _branch(statement, around, faults)


def compile_rule(rule: Rule, faults: Faults, test: CompileTest = compile_test) -> Compiled | None:
    """Make a rule ready to run, its tests by `test`; None after a fault."""
    if isinstance(rule, Condition):
        return test(rule, faults)
    if isinstance(rule, Not):
        inner = compile_rule(rule.rule, faults, test)
        return None if inner is None else Compiled(_negated(inner.run), inner.cost)
    made = [compile_rule(part, faults, test) for part in rule.rules]
    sides = sorted((side for side in made if side is not None), key=lambda side: side.cost)
    if len(sides) < len(made):
        return None
    tests = tuple(side.run for side in sides)
    run = _conjunction(tests) if isinstance(rule, All) else _disjunction(tests)
    return Compiled(run, sum(side.cost for side in sides))


def _negated(run: Predicate) -> Predicate:
    return lambda view: not run(view)


def _conjunction(tests: tuple[Predicate, ...]) -> Predicate:
    return lambda view: all(test(view) for test in tests)


def _disjunction(tests: tuple[Predicate, ...]) -> Predicate:
    return lambda view: any(test(view) for test in tests)


__all__ = ["ANYWHERE", "STAGE", "Around", "FilterError", "Program", "RunningFilter", "compile_filters"]
