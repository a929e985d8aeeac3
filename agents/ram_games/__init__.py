"""One file a game: `boxes(ram)`, `facts(ram)`, and in MOVERS the single objects that move.

All take the memory as (128,) signed integers, so that differences may be negative, and give None
for a box that lies outside the field. `agents.ram` is what others call.
"""
