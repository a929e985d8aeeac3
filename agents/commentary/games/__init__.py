"""What is told of each game and in which words: a `Table` a file."""

from agents.commentary.games import (
    beam_rider,
    boxing,
    breakout,
    demon_attack,
    enduro,
    freeway,
    ms_pacman,
    pong,
    qbert,
    seaquest,
    skiing,
    space_invaders,
)
from agents.commentary.table import Table

TABLES: dict[str, Table] = {
    module.TABLE.game: module.TABLE
    for module in (
        beam_rider,
        boxing,
        breakout,
        demon_attack,
        enduro,
        freeway,
        ms_pacman,
        pong,
        qbert,
        seaquest,
        skiing,
        space_invaders,
    )
}
