"""Races of the lab, for its tests."""

from gdfast.lab import program, settings
from gdfast.lab.race import Race


def race_of(*racers, **others):
    """Return a race of pairs of a rule and its values."""
    data = {"racers": [{"rule": rule, "values": values} for rule, values in racers], **others}
    return Race(settings.read(data))


def run_program(race):
    """Run the program of a race, which must end at the race's points, bit for bit."""
    names = {}
    exec(compile(program.of_race(race), "program", "exec"), names)
    for point, lane in zip(names["points"], race.lanes, strict=True):
        assert point.tobytes() == lane.point.tobytes()
