"""How fast is fastnn? The work, the limits of the machine, the peers, and what they are measured and shown with.

Nothing of fastnn imports this package before it is asked for: `fastnn bench`, `MLP.explain` and the suites of bench/.
"""
