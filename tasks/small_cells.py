"""Which cells of a table may not be shown, so that no figure is about a few people.

k-anonymity (Sweeney 2002, section 2) for tables that are published with their total: cells of too few people are left
out, and then as many more as it takes for the total to betray none of them (complementary suppression: Willenborg & de
Waal 2001, "Elements of Statistical Disclosure Control", section 6.3).

It guards one publication. Who compares today's summary with yesterday's sees what came in between; against that only
noise helps (tasks/noisy_counts.py).
"""

from collections.abc import Collection, Mapping


def hidden_cells(people: Mapping[str, Collection[str]], least: int, also: Collection[str] = ()) -> set[str]:
    """The cells to leave out, of a table {cell: who is in it}; those in `also` are left out in any case.

    Of the cells left out there are none or at least two, of at least `least` people together, unless none is left to
    show. A cell that nobody is in betrays nobody, and stays.
    """
    hidden = {cell for cell, who in people.items() if 0 < len(set(who)) < least} | (set(also) & set(people))
    shown = sorted(set(people) - hidden, key=lambda cell: (len(set(people[cell])), cell))
    for cell in [cell for cell in shown if people[cell]]:
        together = set().union(*(people[name] for name in hidden))
        if not together or (sum(bool(people[name]) for name in hidden) > 1 and len(together) >= least):
            break
        hidden.add(cell)
    return hidden
